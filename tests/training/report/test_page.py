"""The page as a browser reads it, and the command that writes it."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from tests.support.tiny import write_tiny
from tests.training.report import reported
from tests.training.synthetic import dataset, rows, write_csv
from training.commands import main, report_options
from training.measure.compare import MODEL, NAMES
from training.report.__main__ import why_no_images
from training.report.page import render
from training.report.plots import PLOTS
from training.report.sentences import captions


@pytest.fixture(scope="module")
def page(found, pictures):
    return parsed(render(found, captions(found), pictures, reported.checkpoint(), dataset()))


class Page(HTMLParser):
    """Every element with its attributes, every id, and the text."""

    def __init__(self):
        super().__init__()
        self.elements, self.words = [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, name):
        return [attributes for tag, attributes in self.elements if tag == name]


def parsed(html):
    page = Page()
    page.feed(html)
    return page


def test_older_checkpoints_have_a_table(found, pictures):
    """By condition, next to this model, and only if some were named."""
    rows = {name: each.rows[MODEL] for name, each in found.comparisons.items()}
    drifted = replace(found, drift={"old.pt": rows})
    text = render(drifted, captions(found), pictures, reported.checkpoint(), dataset())
    assert "old.pt, counts and age" in text
    assert "trained on older data" not in render(
        found, captions(found), pictures, reported.checkpoint(), dataset()
    )


def test_every_picture_has_a_sentence_and_an_alternative_text(found, page):
    """The sentence is on the page, and the alternative text has the figures."""
    words = captions(found)
    assert words.keys() == PLOTS.keys()
    for caption in words.values():
        assert caption.sentence.endswith(".")
        assert caption.sentence[0].isupper()
    images = page.all("img")
    assert [each["alt"] for each in images] == [caption.alt for caption in words.values()]
    text = "".join(page.words)
    for caption in words.values():
        assert caption.sentence in text


def test_the_page_is_self_contained(page):
    """Every picture is inside it, it runs no script, and its policy forbids everything else."""
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for _, attributes in page.elements:
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "#").startswith(("data:image/png;base64,", "#"))
    (policy,) = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'")


def test_the_page_suits_phones_and_dark_themes(page):
    """It takes the screen's width, has a language, a dark source for each picture, and links that resolve."""
    metas = {each.get("name"): each.get("content") for each in page.all("meta")}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert page.all("html") == [{"lang": "en"}]
    assert [each["media"] for each in page.all("source")] == ["(prefers-color-scheme: dark)"] * len(PLOTS)
    assert len(page.all("h1")) == 1
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert [each["href"] for each in page.all("a")] == [f"#{name}" for name in names] != []


def test_names_are_escaped(found, pictures):
    nasty = "<script>alert('$rows')</script>"
    checkpoint = reported.checkpoint().with_card(provenance={"notes": [nasty]})
    page = parsed(render(found, captions(found), pictures, checkpoint, replace(dataset(), name=nasty)))
    assert page.all("script") == []
    assert "".join(page.words).count(nasty) == 2


def test_the_command_writes_the_page_the_pictures_and_the_numbers(tmp_path, capsys):
    """For a checkpoint without images, too; every verdict is printed and the numbers are JSON."""
    checkpoint, table = (
        write_tiny(tmp_path / "tiny.pt", with_vision=False),
        write_csv(tmp_path / "a.csv", rows()[::2]),
    )
    assert main(["report", str(checkpoint), str(table), "--out", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"index.html", "report.json", *(f"{name}.png" for name in PLOTS)}
    numbers = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert numbers["comparisons"]["counts and age"]["rows"].keys() == NAMES.keys()
    assert set(numbers["modalities"]) == {"text", "scalars", "age"}
    printed = capsys.readouterr().out
    assert sum(printed.count(f"{mark}: ") for mark in ("Good", "Fair", "Poor")) == len(PLOTS)


def test_a_data_file_without_thumbnails_is_reported(tmp_path):
    """The reason why no image was scored depends on the options and on the data."""
    checkpoint, table = write_tiny(tmp_path / "tiny.pt"), write_csv(tmp_path / "a.csv", rows())
    common = [str(checkpoint), str(table), "--out", str(tmp_path / "out")]
    reasons = {"urls": "no images in this data", "none": "thumbnails were not asked for"}
    for source, reason in reasons.items():
        options = report_options([*common, "--thumbnails", source])
        assert why_no_images(options, reported.checkpoint(), dataset()) == reason


def test_a_missing_checkpoint_is_one_line(tmp_path, capsys):
    table = write_csv(tmp_path / "a.csv", rows())
    assert main(["report", str(tmp_path / "none.pt"), str(table), "--out", str(tmp_path / "out")]) == 1
    assert "none.pt: no such file" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_reported_first(tmp_path, capsys):
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "out"
    assert main(["report", str(tmp_path / "none.pt"), "none.csv", "--out", str(below)]) == 1
    assert "name another folder" in capsys.readouterr().err
