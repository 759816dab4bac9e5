"""A checkpoint compared with gradient boosting: the goals it misses, and the table."""

from dataclasses import replace

import pytest

from tests.training.report import reported
from training.measure.compare import BOOSTING, MODEL, lines_of
from training.measure.metrics import Interval


@pytest.fixture
def comparison():
    """A comparison that meets every goal."""
    found = reported.findings().full
    equal = Interval(0.0, -0.01, 0.01)
    return replace(
        found,
        rows={**found.rows, MODEL: replace(found.rows[MODEL], ece=0.01, coverage=0.8)},
        differences={**found.differences, BOOSTING: dict.fromkeys(found.differences[BOOSTING], equal)},
    )


def test_missed_goals_are_named(comparison):
    """A significantly worse AUROC or MAE, a calibration error above .02, and coverage off .78 to .82."""
    own, beside = comparison.rows[MODEL], comparison.differences[BOOSTING]
    worse = {
        "AUROC is significantly below": {"auroc": Interval(-0.02, -0.03, -0.01)},
        "MAE is significantly above": {"mae": Interval(0.02, 0.01, 0.03)},
    }
    rows = {
        "ECE is 0.030, expected at most 0.02": {"ece": 0.03},
        "coverage is 0.770, expected 0.78 to 0.82": {"coverage": 0.77},
        "the checkpoint has no intervals": {"coverage": None},
    }
    cases = [
        (sentence, replace(comparison, differences={BOOSTING: {**beside, **change}}))
        for sentence, change in worse.items()
    ]
    cases += [
        (sentence, replace(comparison, rows={MODEL: replace(own, **change)}))
        for sentence, change in rows.items()
    ]
    failures = [
        (sentence, case.misses)
        for sentence, case in cases
        if len(case.misses) != 1 or not case.misses[0].startswith(sentence)
    ]
    assert failures == []
    assert comparison.misses == []


def test_the_table_has_every_model_and_the_paired_difference(comparison):
    """In Markdown, with one verdict for each condition."""
    lines = lines_of({"counts": comparison})
    assert len(lines) == 2 + len(comparison.rows) + 2
    assert len({line.count("|") for line in lines[:-1]}) == 1
    assert "+0.0000 [-0.0100, +0.0100]" in lines[-2]
    assert lines[-1] == "counts: every goal is met"
