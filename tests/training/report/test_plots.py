"""The pictures: their colours, their lines and their files."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from training.measure.compare import MODEL, NAMES
from training.report.palette import DARK, LIGHT, drawing, drawn
from training.report.plots import LINES, PLOTS, hit_rates, precision_recall, roc

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
    """Text has a contrast of 4.5 : 1 to its background, lines of 3 : 1, in both themes."""
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
    """Each is a PNG of its stated size below 100 kB, on the theme's background."""
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
