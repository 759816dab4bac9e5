"""The pictures, their sentences, and the page as a browser reads it."""

import io
import itertools
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.support.tiny import write_tiny
from tests.training.report import reported
from tests.training.synthetic import dataset, rows, write_csv
from training.commands import main, report_options
from training.measure.compare import BOOSTING, MODEL, NAMES
from training.measure.metrics import Interval
from training.report.__main__ import why_no_images
from training.report.importance import Importance
from training.report.page import render
from training.report.palette import DARK, LIGHT, drawing, drawn
from training.report.plots import LINES, PLOTS, hit_rates, precision_recall, roc
from training.report.sentences import FAIR, GOOD, POOR, captions

# How protan, deutan and tritan eyes see linear RGB; Machado et al. 2009, severity 1.
EYES = {
    "all cones": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}


@pytest.fixture(scope="module")
def found():
    return reported.findings()


@pytest.fixture(scope="module")
def pictures(found):
    return {name: drawn(plot, found) for name, plot in PLOTS.items()}


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
        """The attributes of every element called `name`."""
        return [attributes for tag, attributes in self.elements if tag == name]


def parsed(html):
    page = Page()
    page.feed(html)
    return page


def linear(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """WCAG 2.2's contrast ratio."""
    lights = sorted(float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (one, other))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def lab(light):
    """CIE 1976 L*a*b* of linear sRGB."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x = matrix @ np.clip(light, 0, 1) / [0.9505, 1, 1.089]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_lines_and_words_stand_out():
    """Words have a contrast of 4.5 : 1 to their ground, lines of 3 : 1, in both themes."""
    for palette in (LIGHT, DARK):
        assert contrast(palette.ink, palette.ground) >= 4.5
        for colour in (palette.model, palette.faint, *palette.series):
            assert contrast(colour, palette.ground) >= 3, (palette.name, colour)


def test_no_two_lines_look_alike_to_colour_blind_eyes():
    """Any two series of a theme differ by 20 in CIE 1976, whichever cones are missing."""
    failures = [
        (palette.name, eyes, one, other)
        for palette in (LIGHT, DARK)
        for eyes, seen in EYES.items()
        for one, other in itertools.combinations((palette.model, *palette.series), 2)
        if np.linalg.norm(lab(seen @ linear(one)) - lab(seen @ linear(other))) < 20
    ]
    assert failures == []


def line(figure, label):
    """The points of the line whose legend begins with `label` and a figure."""
    (axes,) = figure.axes
    return next(each for each in axes.lines if str(each.get_label()).rpartition("  ")[0] == label).get_data()


def test_the_roc_lines_enclose_their_auroc(found):
    """The area below each drawn line, by trapezoids, is scikit-learn's AUROC of that model."""
    with drawing(LIGHT):
        figure = roc(found, LIGHT)
    for name, label in [(MODEL, NAMES[MODEL]), *((each, NAMES[each]) for each in LINES)]:
        answer = found.full.answers[name].test
        area = np.trapezoid(*line(figure, label)[::-1])
        assert area == pytest.approx(roc_auc_score(answer.is_viral, answer.viral))


def test_the_precision_recall_lines_enclose_their_pr_auc(found):
    """The steps below each drawn line add up to scikit-learn's average precision."""
    with drawing(LIGHT):
        figure = precision_recall(found, LIGHT)
    for name, label in [(MODEL, NAMES[MODEL]), *((each, NAMES[each]) for each in LINES)]:
        answer = found.full.answers[name].test
        recall, precision = line(figure, label)
        assert -np.sum(np.diff(recall) * precision[:-1]) == pytest.approx(
            average_precision_score(answer.is_viral, answer.viral)
        )


def test_the_dot_is_at_the_threshold_from_val(found):
    """Precision and recall there, counted in plain steps."""
    answer, row = found.full.answers[MODEL].test, found.full.rows[MODEL]
    right, everything = hit_rates(found)
    called = [bool(score >= row.f1_threshold) for score in answer.viral]
    hits = sum(one and other for one, other in zip(called, answer.is_viral, strict=True))
    assert (right, everything) == pytest.approx((hits / sum(called), hits / answer.is_viral.sum()))
    assert 2 * right * everything / (right + everything) == pytest.approx(row.f1)


def test_pictures_are_small_and_drawn_for_both_themes(pictures):
    """Each is a PNG of its stated size below 100 kB, on the theme's ground."""
    assert pictures.keys() == PLOTS.keys()
    for picture in pictures.values():
        for png, palette in ((picture.light, LIGHT), (picture.dark, DARK)):
            with Image.open(io.BytesIO(png)) as image:
                assert (image.format, image.height) == ("PNG", picture.height)
                corner = "#{:02x}{:02x}{:02x}".format(*image.convert("RGB").getpixel((0, 0)))
            assert contrast(corner, palette.ground) < 1.01
            assert len(png) < 100_000


def test_the_same_findings_give_the_same_pictures(found, pictures):
    """A PNG has no date in it: drawn again, it has the same bytes."""
    assert drawn(PLOTS["roc"], found) == pictures["roc"]


def with_full(found, **changes):
    """The findings if the condition that knows most had these values."""
    first, *others = found.comparisons.items()
    return replace(found, comparisons=dict([(first[0], replace(first[1], **changes)), *others]))


def against(found, figure, low, high):
    """The findings if the paired difference to each baseline had this interval."""
    interval = Interval((low + high) / 2, low, high)
    differences = found.full.differences.items()
    return with_full(found, differences={name: {**each, figure: interval} for name, each in differences})


AGAINST = [
    ("roc", "auroc", 0.01, 0.03, GOOD),
    ("roc", "auroc", -0.01, 0.03, FAIR),
    ("roc", "auroc", -0.03, -0.01, POOR),
    ("precision-recall", "pr_auc", 0.01, 0.03, GOOD),
    ("precision-recall", "pr_auc", -0.03, -0.01, POOR),
    ("velocity", "mae", -0.3, -0.1, GOOD),
    ("velocity", "mae", -0.1, 0.3, FAIR),
    ("velocity", "mae", 0.1, 0.3, POOR),
]


def test_good_is_significantly_better_than_the_best_baseline(found):
    """The verdict follows from the interval's side of zero; for an error, lower is better."""
    verdicts = [
        (picture, figure, low, high, captions(against(found, figure, low, high))[picture].verdict)
        for picture, figure, low, high, _ in AGAINST
    ]
    assert verdicts == AGAINST


def test_what_is_known_comes_first_and_is_poor_where_boosting_is_better(found):
    """Fair where only the calibration or the coverage misses its goal, good where nothing does."""
    goals = replace(found.full.rows[MODEL], ece=0.01, coverage=0.8)
    failures = []
    for high, ece, verdict in ((0.1, 0.01, GOOD), (0.1, 0.05, FAIR), (-0.1, 0.01, POOR)):
        same = dict.fromkeys(("auroc", "mae"), Interval(0.0, -0.2, 0.1))
        beside = {**same, "auroc": Interval(-0.15, -0.2, high)}
        rows = {**found.full.rows, MODEL: replace(goals, ece=ece)}
        one = replace(found.full, rows=rows, differences={**found.full.differences, BOOSTING: beside})
        caption = captions(replace(found, comparisons={"counts": one}))["error-by-known"]
        failures += [(high, ece, caption)] * (caption.verdict != verdict)
    assert failures == []
    assert next(iter(PLOTS)) == next(iter(captions(found))) == "error-by-known"


def test_older_checkpoints_have_a_table(found, pictures):
    """By condition, beside this model, and only where some were named."""
    rows = {name: each.rows[MODEL] for name, each in found.comparisons.items()}
    drifted = replace(found, drift={"old.pt": rows})
    text = render(drifted, captions(found), pictures, reported.checkpoint(), dataset())
    assert "old.pt, counts and age" in text
    assert "trained on older data" not in render(
        found, captions(found), pictures, reported.checkpoint(), dataset()
    )


def test_the_comparison_is_with_the_best_baseline(found):
    """By the figure of each picture."""
    rows = found.full.rows
    for picture, figure, best in (("roc", "auroc", max), ("velocity", "mae", min)):
        name = best(found.full.differences, key=lambda name, figure=figure: getattr(rows[name], figure))
        assert NAMES[name] in captions(found)[picture].sentence


def test_the_calibration_error_decides_whether_scores_can_be_trusted(found):
    """The sentence has it in points of 100."""
    failures = []
    for error, verdict in ((0.01, GOOD), (0.04, FAIR), (0.2, POOR)):
        rows = {**found.full.rows, MODEL: replace(found.full.rows[MODEL], ece=error)}
        one = replace(found, comparisons={"counts": replace(found.full, rows=rows)})
        caption = captions(one)["reliability"]
        if caption.verdict != verdict or f"by {100 * error:.1f} with counts" not in caption.sentence:
            failures.append((error, caption))
    assert failures == []


def uneven(found, factor, boosting):
    """The findings if the last age group were off `factor` times the first, beside `boosting` times it."""
    first = found.error_by_age[0]
    model = replace(first.model, mean=1.0, low=0.9, high=1.1, rows=100)
    worst = replace(model, mean=factor, low=0.9 * factor, high=1.1 * factor)
    return replace(
        found,
        error_by_age=[
            replace(first, label="young", model=model, boosting=1.0),
            replace(first, label="old", model=worst, boosting=factor * boosting),
        ],
    )


def test_an_even_error_is_good(found):
    """Fair where the error depends on the age, poor where boosting is significantly better."""
    failures = []
    for factor, boosting, verdict in ((1.1, 1.0, GOOD), (1.6, 1.0, FAIR), (1.1, 0.8, POOR)):
        caption = captions(uneven(found, factor, boosting))["error-by-age"]
        if caption.verdict != verdict or "worst (old)" not in caption.sentence:
            failures.append((factor, boosting, caption))
    assert failures == []


def test_every_input_that_adds_is_good(found):
    """All inputs above chance are good; one without a gain is fair; a harmful one is poor."""
    for low, high, verdict in ((0.01, 0.03, GOOD), (-0.01, 0.01, FAIR), (-0.03, -0.01, POOR)):
        limits = dict.fromkeys(found.modalities, (0.01, 0.03)) | {"text": (low, high)}
        gains = {name: {"auroc": Interval(sum(ends) / 2, *ends)} for name, ends in limits.items()}
        caption = captions(replace(found, modalities=gains, why_no_images=""))["modalities"]
        assert caption.verdict == verdict
    assert "harmful: the words" in caption.sentence


def test_an_input_that_the_data_lacks_is_not_judged(found):
    """Without images the sentence has the reason instead of a gain."""
    caption = captions(replace(found, why_no_images="no images in this data"))["modalities"]
    assert "no images in this data" in caption.sentence
    assert "the thumbnail +" not in caption.sentence


def test_a_score_that_depends_on_one_fact_is_poor(found):
    """Good up to half of all movement, poor from three quarters, and where nothing moves it."""
    failures = []
    for top, verdict in ((1.0, GOOD), (2.0, FAIR), (20.0, POOR)):
        moved = [Importance("age", top, 0.1), Importance("views", 1.0, 0.1)]
        caption = captions(replace(found, facts=moved))["facts"]
        failures += [(top, caption)] * (caption.verdict != verdict)
    assert failures == []
    still = replace(found, facts=[])
    assert captions(still)["facts"].verdict == POOR
    with drawing(LIGHT):
        PLOTS["facts"](still, LIGHT)


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
    """A file that is named like a tag, and a note with one, are shown as they are."""
    nasty = "<script>alert('$rows')</script>"
    checkpoint = reported.checkpoint().with_card(provenance={"notes": [nasty]})
    page = parsed(render(found, captions(found), pictures, checkpoint, replace(dataset(), name=nasty)))
    assert page.all("script") == []
    assert "".join(page.words).count(nasty) == 2


def test_the_command_writes_the_page_the_pictures_and_the_numbers(tmp_path, capsys):
    """For a checkpoint without images, too; every verdict is printed and the numbers are JSON."""
    checkpoint, table = (
        write_tiny(tmp_path / "tiny.pt", with_vision=False),
        write_csv(tmp_path / "a.csv", rows()),
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
    """The name and the reason, and a failing status."""
    table = write_csv(tmp_path / "a.csv", rows())
    assert main(["report", str(tmp_path / "none.pt"), str(table), "--out", str(tmp_path / "out")]) == 1
    assert "none.pt: no such file" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_reported_first(tmp_path, capsys):
    """An --out below a file is one line, and no data is read for it."""
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "out"
    assert main(["report", str(tmp_path / "none.pt"), "none.csv", "--out", str(below)]) == 1
    assert "name another folder" in capsys.readouterr().err
