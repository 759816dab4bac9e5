"""Which precision is served, from verdicts written by hand: speed, the gate, and two towers at once."""

from pathlib import Path

import numpy as np
import pytest

from model.compile.fidelity import Judge, TowerVectors
from model.compile.precision import STATIC, PrecisionError, Verdict, choose, choose_together
from model.engine import Scores
from model.outputs import LogVelocity

ROWS = 100


def verdict(precision, time, *, moved=0.0, refused=None):
    """A candidate whose vectors, all of width 1, are `moved` from the reference."""
    report = {"passed": refused is None, "refused": refused, "viral_score_p99": moved}
    return Verdict(
        precision,
        report | {"time_batch_1": time, "time_batch_8": time},
        Path("graph.xml"),
        np.full((ROWS, 1), 0.5 + moved, np.float32),
    )


@pytest.fixture
def judge():
    """For a network whose score is the mean of text, image and scalar, and whose velocity is constant."""
    draw = np.random.default_rng(0).uniform(0.1, 0.4, (ROWS, 1)).astype(np.float32)
    half = np.full((ROWS, 1), 0.5, np.float32)

    def fuse(text, image, scalars):
        viral = ((text + image + scalars) / 3)[:, 0].astype(np.float64)
        return Scores(viral, np.full(ROWS, 100.0))

    return Judge(TowerVectors(half, half), draw, fuse(half, half, draw), fuse, LogVelocity(1.0, 1.0, 20.0))


def test_the_fastest_that_passes_is_served():
    """A faster candidate that was refused is not."""
    candidates = [verdict("f32", 1.0), verdict("bf16", 0.6), verdict("int8", 0.3, refused="too far")]
    assert choose("text", "auto", candidates).precision == "bf16"
    assert choose("text", "auto", [*candidates[:2], verdict("int8", 0.3)]).precision == "int8"


def test_a_text_tower_has_two_kinds_of_int8():
    """Static int8 is served if it passes, also when int8 was requested; otherwise dynamic int8."""
    candidates = [verdict("f32", 1.0), verdict("int8", 0.5), verdict(STATIC, 0.3)]
    refused = [*candidates[:2], verdict(STATIC, 0.3, refused="too far")]
    for wanted in ("auto", "int8"):
        assert choose("text", wanted, candidates).kind == STATIC
        assert choose("text", wanted, refused).kind == "int8"
    assert choose("text", "auto", candidates).precision == "int8"


def test_hardly_faster_is_not_worth_it():
    """Within 5% of each other, the more exact one is served; a slower one never is."""
    assert choose("text", "auto", [verdict("f32", 1.0), verdict("bf16", 0.97)]).precision == "f32"
    slow = [verdict("f32", 1.0), verdict("bf16", 0.5), verdict("int8", 0.8)]
    assert choose("text", "auto", slow).precision == "bf16"


def test_a_float32_graph_that_misses_is_an_export_error():
    """Rounding is not the cause: the export is wrong, and nothing is served."""
    with pytest.raises(PrecisionError, match="the float32 graph does not reproduce the network: too far"):
        choose("text", "auto", [verdict("f32", 1.0, refused="too far"), verdict("int8", 0.3)])


def test_two_towers_that_miss_together_fall_back_by_one(judge):
    """Each moves scores by less than .01, both by more: the one with the larger effect falls back."""
    verdicts = {
        "text": [verdict("f32", 1.0), verdict("int8", 0.3, moved=0.028)],
        "image": [verdict("f32", 1.0), verdict("int8", 0.3, moved=0.02)],
    }
    said = []
    chosen, together = choose_together("auto", verdicts, judge, said.append)
    assert {tower: one.precision for tower, one in chosen.items()} == {"text": "f32", "image": "int8"}
    assert together["viral_score_p99"] == pytest.approx(0.02 / 3, rel=1e-3)
    assert said[0].endswith("text falls back from int8")
    assert verdicts["text"][1].report["refused"].startswith("together with the other tower, viral_score_p99")


def test_two_towers_that_pass_together_stay(judge):
    """Nothing falls back without need."""
    verdicts = {tower: [verdict("f32", 1.0), verdict("int8", 0.3, moved=0.01)] for tower in ("text", "image")}
    chosen, _ = choose_together("auto", verdicts, judge, print)
    assert {one.precision for one in chosen.values()} == {"int8"}


def test_a_requested_precision_is_not_replaced_silently(judge):
    verdicts = {
        tower: [verdict("f32", 1.0), verdict("int8", 0.3, moved=0.028)] for tower in ("text", "image")
    }
    with pytest.raises(PrecisionError, match="both towers together: int8 is refused: viral_score_p99"):
        choose_together("int8", verdicts, judge, print)
