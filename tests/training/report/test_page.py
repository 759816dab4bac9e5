"""The pictures, the sentences below them and the page, as a browser and a person get them."""

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
from training.metrics import Interval
from training.report.__main__ import arguments_of, draw, draw_one, main, open_scorer
from training.report.baselines import LABELS
from training.report.findings import MODEL
from training.report.importance import Importance
from training.report.page import render
from training.report.palette import DARK, LIGHT, PALETTES, drawing
from training.report.plots import PLOTS, hit_rates, precision_recall, roc
from training.report.sentences import FAIR, GOOD, POOR, captions

# To what protan, deutan and tritan eyes are left with of linear RGB; Machado et al. 2009, severity 1.
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
palettes = pytest.mark.parametrize("palette", PALETTES, ids=lambda palette: palette.name)


@pytest.fixture(scope="module")
def found():
    return reported.findings()


@pytest.fixture(scope="module")
def pictures(found):
    return draw(found)


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


@palettes
def test_lines_and_words_stand_out(palette):
    """Words have a contrast of 4.5 : 1 to their ground, lines of 3 : 1, in both themes."""
    assert contrast(palette.ink, palette.ground) >= 4.5
    for colour in (palette.model, palette.faint, *palette.series):
        assert contrast(colour, palette.ground) >= 3, colour


@palettes
@pytest.mark.parametrize("eyes", EYES)
def test_no_two_lines_look_alike_to_colour_blind_eyes(palette, eyes):
    """Any two series differ by 20 in CIE 1976, whichever cones are missing."""
    for one, other in itertools.combinations((palette.model, *palette.series), 2):
        seen = [lab(EYES[eyes] @ linear(each)) for each in (one, other)]
        assert np.linalg.norm(seen[0] - seen[1]) >= 20, (one, other)


def line(figure, label):
    """The points of the line whose legend begins with `label` and a figure."""
    (axes,) = figure.axes
    return next(each for each in axes.lines if str(each.get_label()).rpartition("  ")[0] == label).get_data()


def test_the_roc_lines_enclose_their_auroc(found):
    """The area below each drawn line, by trapezoids, is scikit-learn's AUROC of that model."""
    with drawing(LIGHT):
        figure = roc(found, LIGHT)
    for name, label in {MODEL: "this model", **LABELS}.items():
        answer = found.answers["with age"][name].test
        area = np.trapezoid(*line(figure, label)[::-1])
        assert area == pytest.approx(roc_auc_score(answer.is_viral, answer.viral))


def test_the_precision_recall_lines_enclose_their_pr_auc(found):
    """The steps below each drawn line add up to scikit-learn's average precision."""
    with drawing(LIGHT):
        figure = precision_recall(found, LIGHT)
    for name, label in {MODEL: "this model", **LABELS}.items():
        answer = found.answers["with age"][name].test
        recall, precision = line(figure, label)
        assert -np.sum(np.diff(recall) * precision[:-1]) == pytest.approx(
            average_precision_score(answer.is_viral, answer.viral)
        )


def test_the_dot_is_where_val_put_it(found):
    """Precision and recall at the threshold from val, counted by hand, are a point of the line."""
    answer, row = found.answers["with age"][MODEL].test, found.rows["with age"][MODEL]
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


def test_the_same_findings_are_the_same_pictures(found, pictures):
    """Nothing of the moment is in a PNG: drawn again, it has the same bytes."""
    assert draw_one(PLOTS["roc"], found) == pictures["roc"]


def against(found, figure, low, high):
    """The findings if the paired difference to each baseline had this interval."""
    interval = Interval((low + high) / 2, low, high)
    return replace(found, gains={name: {**each, figure: interval} for name, each in found.gains.items()})


@pytest.mark.parametrize(
    ("picture", "figure", "low", "high", "verdict"),
    [
        ("roc", "auroc", 0.01, 0.03, GOOD),
        ("roc", "auroc", -0.01, 0.03, FAIR),
        ("roc", "auroc", -0.03, -0.01, POOR),
        ("precision-recall", "pr_auc", 0.01, 0.03, GOOD),
        ("precision-recall", "pr_auc", -0.03, -0.01, POOR),
        ("velocity", "mae", -0.3, -0.1, GOOD),
        ("velocity", "mae", -0.1, 0.3, FAIR),
        ("velocity", "mae", 0.1, 0.3, POOR),
    ],
)
def test_good_is_better_than_the_best_baseline_by_more_than_chance(
    found, picture, figure, low, high, verdict
):
    """The verdict follows from the interval's side of zero; for an error, lower is better."""
    assert captions(against(found, figure, low, high))[picture].verdict == verdict


def test_the_baseline_that_is_named_is_the_best(found):
    """The comparison is with the strongest of the four, by the picture's own figure."""
    rows = found.rows["with age"]
    for picture, figure, best in (("roc", "auroc", max), ("velocity", "mae", min)):
        name = best(LABELS, key=lambda name, figure=figure: getattr(rows[name], figure))
        assert LABELS[name] in captions(found)[picture].sentence


@pytest.mark.parametrize(("error", "verdict"), [(0.01, GOOD), (0.05, FAIR), (0.2, POOR)])
def test_a_score_is_good_when_it_keeps_its_promise(found, error, verdict):
    """The calibration error decides, and the sentence tells it in points of 100."""
    told = {**found.rows["with age"], MODEL: replace(found.rows["with age"][MODEL], ece=error)}
    caption = captions(replace(found, rows={**found.rows, "with age": told}))["reliability"]
    assert caption.verdict == verdict
    assert f"off by {100 * error:.1f} points" in caption.sentence


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


@pytest.mark.parametrize(
    ("factor", "boosting", "verdict"), [(1.1, 1.0, GOOD), (1.6, 1.0, FAIR), (1.1, 0.8, POOR)]
)
def test_an_error_is_good_when_it_is_even(found, factor, boosting, verdict):
    """Fair where some videos are served worse than others, poor where boosting beats it beyond chance."""
    caption = captions(uneven(found, factor, boosting))["error-by-age"]
    assert caption.verdict == verdict
    assert "worst (old)" in caption.sentence


def gaining(found, **intervals):
    """The findings if these inputs had these intervals of AUROC."""
    return [
        replace(each, gain={**each.gain, "auroc": Interval(sum(found_) / 2, *found_)})
        for each in found.modalities
        if (found_ := intervals.get(each.modality))
    ]


def test_every_input_that_adds_is_good(found):
    """With thumbnails, all inputs above chance are good; one of none is fair; a harmful one is poor."""
    helps, idle, harms = (0.01, 0.03), (-0.01, 0.01), (-0.03, -0.01)
    for text, verdict in ((helps, GOOD), (idle, FAIR), (harms, POOR)):
        gains = gaining(found, text=text, image=helps, scalars=helps, age=helps)
        caption = captions(replace(found, modalities=gains, why_no_images=""))["modalities"]
        assert caption.verdict == verdict
    assert "harmful: the words" in caption.sentence


def test_an_input_that_the_data_lacks_is_not_judged(found):
    """Without images the thumbnail is neither good nor bad, and the sentence says why."""
    caption = captions(found)["modalities"]
    assert "no images in this data" in caption.sentence
    assert "the thumbnail +" not in caption.sentence


@pytest.mark.parametrize(("top", "verdict"), [(1.0, GOOD), (2.0, FAIR), (20.0, POOR)])
def test_a_score_that_rests_on_one_fact_is_poor(found, top, verdict):
    """Good while no fact has more than half of all movement, poor where it has three quarters."""
    moved = [Importance("age", top, 0.1), Importance("views", 1.0, 0.1)]
    assert captions(replace(found, facts=moved))["facts"].verdict == verdict


def test_a_score_that_nothing_moves_is_poor(found):
    """A constant model gets a sentence and a picture, no crash."""
    still = replace(found, facts=[], features=[])
    assert captions(still)["facts"].verdict == POOR
    with drawing(LIGHT):
        PLOTS["facts"](still, LIGHT)


def test_every_picture_has_one_sentence_and_a_text_for_who_cannot_see(found, page):
    """One sentence, one verdict in words, one alternative text with figures, for each picture."""
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


def test_the_page_asks_nobody_for_anything(page):
    """Every picture is inside it, it runs no script, and its policy forbids whatever else."""
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "object", "base"})
    for _, attributes in page.elements:
        for name in ("src", "srcset", "href"):
            assert attributes.get(name, "#").startswith(("data:image/png;base64,", "#"))
    (policy,) = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'")


def test_the_page_is_for_phones_and_for_the_dark(page):
    """It takes the screen's width, says its language, and has a dark source for each picture."""
    metas = {each.get("name"): each.get("content") for each in page.all("meta")}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    assert page.all("html") == [{"lang": "en"}]
    assert [each["media"] for each in page.all("source")] == ["(prefers-color-scheme: dark)"] * len(PLOTS)
    assert len(page.all("h1")) == 1


def test_every_link_leads_somewhere(page):
    """The summary's links are the sections' names."""
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert [each["href"] for each in page.all("a")] == [f"#{name}" for name in names] != []


def test_a_name_is_no_markup(found, pictures):
    """A file that is called like a tag, and a note with one, are shown as they are."""
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
    assert main([str(checkpoint), str(table), "--out", str(tmp_path / "out")]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"index.html", "report.json", *(f"{name}.png" for name in PLOTS)}
    numbers = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert set(numbers["rows"]["with age"]) == {MODEL, *LABELS}
    assert set(numbers["modalities"]) == {"text", "scalars", "age"}
    printed = capsys.readouterr().out
    assert sum(printed.count(f"{mark}: ") for mark in ("Good", "Fair", "Poor")) == len(PLOTS)


def test_thumbnails_of_a_folder_are_scored(tmp_path):
    """A picture that bears a video's name changes what is said of it, and of no other video."""
    checkpoint, table = write_tiny(tmp_path / "tiny.pt"), write_csv(tmp_path / "a.csv", rows())
    seen, named = dataset().test, dataset().test.video_ids[0]
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 36), (200, 30, 90)).save(tmp_path / "pictures" / f"{named}.png")
    common = [str(checkpoint), str(table), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    scores = {}
    for source, why in ((str(tmp_path / "pictures"), ""), ("none", "thumbnails were not asked for")):
        scorer = open_scorer(arguments_of([*common, "--thumbnails", source]))[0]
        assert scorer.why_no_images == why
        scores[why] = scorer.predict(scorer.inputs(seen), seen).viral
    changed = scores[""] != scores["thumbnails were not asked for"]
    assert changed.tolist() == [name == named for name in seen.video_ids]


def test_a_missing_checkpoint_is_one_line(tmp_path, capsys):
    """Nothing but the name and the reason, and a failing status."""
    table = write_csv(tmp_path / "a.csv", rows())
    assert main([str(tmp_path / "none.pt"), str(table), "--out", str(tmp_path / "out")]) == 1
    assert "none.pt: no such file" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_computed(tmp_path, capsys):
    """An --out below a file is one line, and no data is read for it."""
    (tmp_path / "file").touch()
    assert main([str(tmp_path / "none.pt"), "none.csv", "--out", str(tmp_path / "file" / "out")]) == 1
    assert "name another --out" in capsys.readouterr().err
