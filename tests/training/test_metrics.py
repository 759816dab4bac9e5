"""Figures against scikit-learn and against values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from training.metrics import (
    Predictions,
    best_f1_threshold,
    calibration_error,
    metrics_row,
    paired_intervals,
    weighted_auroc,
)


@pytest.fixture
def predictions():
    # Not the bootstrap's own seed: the same stream would draw rows by their label.
    draw = np.random.default_rng(12)
    truth = draw.random(400) < 0.3
    viral = np.round(np.clip(0.3 + 0.3 * truth + draw.normal(0, 0.2, 400), 0, 1), 2)
    velocity = draw.normal(9, 2, 400)
    return Predictions(viral, velocity + draw.normal(0, 0.5, 400), truth, velocity)


def test_weighted_auroc_is_scikit_learns(predictions):
    """AUROC with row weights and ties equals scikit-learn's, for each set of weights."""
    weights = np.random.default_rng(1).integers(0, 4, (3, 400)).astype(float)
    expected = [
        roc_auc_score(predictions.is_viral, predictions.viral, sample_weight=each) for each in weights
    ]
    assert weighted_auroc(predictions.is_viral, predictions.viral, weights) == pytest.approx(expected)


def test_one_class_alone_has_no_auroc(predictions):
    """Weights that leave no viral row give NaN, not a number and not a warning."""
    weights = (~predictions.is_viral).astype(float)[None]
    assert np.isnan(weighted_auroc(predictions.is_viral, predictions.viral, weights)).all()


def test_calibration_error_of_a_known_case():
    """Ten rows at 0.9 of which half are viral, ten at 0.1 of which none is: (0.4 + 0.1) / 2."""
    truth = np.array([True] * 5 + [False] * 15)
    assert calibration_error(truth, np.array([0.9] * 10 + [0.1] * 10)) == pytest.approx(0.25)


def test_a_score_of_one_has_a_bin():
    """A score of 1 shares the last bin with 0.9: one of the two viral, 0.95 on average, is 0.45 off."""
    assert calibration_error(np.array([False, True]), np.array([1.0, 0.9])) == pytest.approx(0.45)


def test_a_perfect_prediction_scores_perfectly(predictions):
    """Every figure takes its ideal value."""
    perfect = replace(
        predictions, viral=predictions.is_viral.astype(float), log_velocity=predictions.true_log_velocity
    )
    row = metrics_row(perfect, 0.5)
    assert (row.auroc, row.pr_auc, row.f1, row.brier, row.ece, row.mae, row.r2) == (1, 1, 1, 0, 0, 0, 1)
    assert row.spearman == pytest.approx(1)


def test_a_constant_knows_nothing(predictions):
    """A constant has AUROC one half, no R2 and no rank correlation, without a warning."""
    constant = replace(
        predictions,
        viral=np.full(400, 0.3),
        log_velocity=np.full(400, predictions.true_log_velocity.mean()),
    )
    row = metrics_row(constant, 0.5)
    assert (row.auroc, row.f1, row.spearman) == (0.5, 0, 0)
    assert row.r2 == pytest.approx(0)


def test_the_threshold_is_the_best_there_is(predictions):
    """No other cut of these scores gives a higher F1."""
    cuts = [f1_score(predictions.is_viral, predictions.viral >= cut) for cut in np.unique(predictions.viral)]
    found = f1_score(predictions.is_viral, predictions.viral >= best_f1_threshold(predictions))
    assert found == pytest.approx(max(cuts))


def test_a_model_differs_from_itself_by_nothing(predictions):
    """The paired interval of equal predictions is zero wide."""
    for interval in paired_intervals(predictions, predictions, list(range(400)), resamples=20).values():
        assert (interval.difference, interval.low, interval.high) == (0, 0, 0)


def test_a_worse_model_is_found_worse(predictions):
    """Errors twice as large lie outside the interval of chance."""
    error = predictions.log_velocity - predictions.true_log_velocity
    worse = replace(predictions, log_velocity=predictions.true_log_velocity + 2 * error)
    interval = paired_intervals(worse, predictions, list(range(400)), resamples=200)["mae"]
    assert 0 < interval.low < interval.difference < interval.high


def test_rows_of_one_video_are_drawn_together(predictions):
    """Four copies of every row, grouped, tell no more than the rows alone."""
    error = predictions.log_velocity - predictions.true_log_velocity
    other = replace(predictions, log_velocity=predictions.true_log_velocity + error**2)
    copies = [
        Predictions(*(np.tile(getattr(each, name), 4) for name in each.__slots__))
        for each in (predictions, other)
    ]
    once = paired_intervals(predictions, other, list(range(400)), resamples=100)["mae"]
    four = paired_intervals(*copies, list(range(400)) * 4, resamples=100)["mae"]
    assert four.high - four.low == pytest.approx(once.high - once.low)
