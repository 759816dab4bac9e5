"""Figures against scikit-learn and SciPy, and intervals against what a bootstrap must give."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, f1_score, mean_absolute_error, r2_score, roc_auc_score

from training.measure.figures import FIGURES, Predictions, figures_of
from training.measure.metrics import (
    best_f1_threshold,
    binned_means,
    calibrated_ece,
    figure_intervals,
    metrics_row,
    paired_intervals,
    plain,
)

ROWS = 400
THRESHOLD = 0.4


@pytest.fixture
def predictions():
    # Not the bootstrap's own seed: the same stream would draw rows by their label.
    draw = np.random.default_rng(12)
    truth = draw.random(ROWS) < 0.3
    viral = np.round(np.clip(0.3 + 0.3 * truth + draw.normal(0, 0.2, ROWS), 0, 1), 2)
    velocity = np.round(draw.normal(9, 2, ROWS), 1)
    predicted = velocity + draw.normal(0, 0.5, ROWS)
    return Predictions(viral, predicted, truth, velocity, predicted - 0.5, predicted + 0.5)


def repeated(predictions, times):
    """Each row repeated by its number in `times`."""
    names = Predictions.__slots__
    return Predictions(*(np.repeat(getattr(predictions, name), times, axis=0) for name in names))


def expected(p):
    """Every figure by another implementation, and those of our own definition in plain steps."""
    best_first = np.argsort(-(p.viral + 1e-9 * np.arange(len(p.viral))))[: round(0.1 * len(p.viral))]
    tenths = [(p.viral >= n / 10) & (p.viral < (n + 1) / 10 + (n == 9)) for n in range(10)]
    gaps = [abs((p.viral - p.is_viral)[rows].sum()) for rows in tenths]
    return {
        "auroc": roc_auc_score(p.is_viral, p.viral),
        "pr_auc": average_precision_score(p.is_viral, p.viral),
        "f1": f1_score(p.is_viral, p.viral >= THRESHOLD),
        "brier": np.mean((p.viral - p.is_viral) ** 2),
        "ece": sum(gaps) / len(p.viral),
        "mae": mean_absolute_error(p.true_log_velocity, p.log_velocity),
        "r2": r2_score(p.true_log_velocity, p.log_velocity),
        "nmse": np.mean((p.log_velocity - p.true_log_velocity) ** 2) / np.var(p.true_log_velocity),
        "spearman": spearmanr(p.log_velocity, p.true_log_velocity).statistic,
        "lift": p.is_viral[best_first].mean() / p.is_viral.mean(),
        "coverage": np.mean((p.low <= p.true_log_velocity) & (p.true_log_velocity <= p.high)),
    }


def test_weights_count_as_repeated_rows_in_every_figure(predictions):
    """With ties, and with rows of weight 0, as a bootstrap draws them; the lift on distinct scores."""
    draw = np.random.default_rng(1)
    distinct = replace(predictions, viral=(draw.permutation(ROWS) + 0.5) / ROWS)
    failures, others = [], set(FIGURES) - {"lift"} | {"f1", "coverage"}
    for times in (np.ones(ROWS, dtype=int), draw.integers(0, 4, ROWS), 10 * draw.integers(0, 2, ROWS)):
        for figures, rows in ((("lift",), distinct), (others, predictions)):
            wanted = expected(repeated(rows, times))
            for name in figures:
                found = figures_of(rows, THRESHOLD)[name](rows, times[None].astype(float))[0]
                if found != pytest.approx(wanted[name], abs=0.05 if name == "lift" else 1e-9):
                    failures.append((name, found, wanted[name]))
    assert failures == []


def test_equal_scores_share_the_top_tenth(predictions):
    """A constant score has a lift of 1; a perfect score has the highest possible lift."""
    constant = replace(predictions, viral=np.full(ROWS, 0.3))
    perfect = replace(predictions, viral=predictions.is_viral.astype(float))
    assert metrics_row(constant, 0.5).lift == pytest.approx(1)
    assert metrics_row(perfect, 0.5).lift == pytest.approx(1 / predictions.is_viral.mean())


def test_one_class_has_neither_auroc_nor_pr_auc(predictions):
    """Weights that leave no viral row give NaN, without a warning."""
    weights = (~predictions.is_viral).astype(float)[None]
    for name in ("auroc", "pr_auc", "lift"):
        assert np.isnan(FIGURES[name](predictions, weights)).all(), name


def test_a_perfect_prediction_and_a_constant_have_their_extremes(predictions):
    """Every figure takes its ideal value; a constant ranks nothing, and explains nothing."""
    truth = predictions.true_log_velocity
    perfect = replace(predictions, viral=predictions.is_viral.astype(float), log_velocity=truth)
    constant = replace(predictions, viral=np.full(ROWS, 0.3), log_velocity=np.full(ROWS, truth.mean()))
    names = ("auroc", "pr_auc", "f1", "brier", "ece", "mae", "r2", "nmse", "spearman")
    best, none = metrics_row(perfect, 0.5), metrics_row(constant, 0.5)
    assert [getattr(best, name) for name in names] == pytest.approx([1, 1, 1, 0, 0, 0, 1, 0, 1], abs=1e-9)
    assert (none.auroc, none.f1, none.spearman) == (0.5, 0, 0)
    assert (none.r2, none.nmse) == pytest.approx((0, 1))


def test_without_an_interval_there_is_no_coverage(predictions):
    """It is None in the row and missing in plain values, where JSON has no NaN."""
    row = metrics_row(replace(predictions, low=None, high=None), 0.5)
    assert row.coverage is None
    assert "coverage" not in plain(row)


def test_the_threshold_is_the_best_there_is(predictions):
    cuts = [f1_score(predictions.is_viral, predictions.viral >= cut) for cut in np.unique(predictions.viral)]
    found = f1_score(predictions.is_viral, predictions.viral >= best_f1_threshold(predictions))
    assert found == pytest.approx(max(cuts))


def test_the_paired_interval_tells_a_worse_model_from_an_equal_one(predictions):
    """Equal predictions differ by exactly 0; for errors twice as large the interval excludes 0."""
    truth, ids = predictions.true_log_velocity, list(range(ROWS))
    worse = replace(predictions, log_velocity=truth + 2 * (predictions.log_velocity - truth))
    for interval in paired_intervals(predictions, predictions, ids, resamples=20).values():
        assert (interval.difference, interval.low, interval.high) == (0, 0, 0)
    interval = paired_intervals(worse, predictions, ids, resamples=200)["mae"]
    assert 0 < interval.low < interval.difference < interval.high


def test_rows_of_one_video_are_drawn_together(predictions):
    """Four copies of each row in one video add no information: every interval stays as wide."""
    truth, ids = predictions.true_log_velocity, list(range(ROWS))
    other = replace(predictions, log_velocity=truth + (predictions.log_velocity - truth) ** 2)
    pair = [Predictions(*(np.tile(getattr(each, name), 4) for name in Predictions.__slots__)) for each in
            (predictions, other)]  # fmt: skip
    values, bins = np.random.default_rng(5).normal(0, 1, ROWS), np.zeros(ROWS, dtype=np.int64)
    widths = {
        "paired": (
            paired_intervals(predictions, other, ids, resamples=100)["mae"],
            paired_intervals(*pair, ids * 4, resamples=100)["mae"],
        ),
        "figure": (
            figure_intervals(predictions, 0.5, ids, resamples=60)["spearman"],
            figure_intervals(pair[0], 0.5, ids * 4, resamples=60)["spearman"],
        ),
        "binned": (
            binned_means(values, bins, ids, 1)[0],
            binned_means(np.tile(values, 4), np.tile(bins, 4), ids * 4, 1)[0],
        ),
    }
    assert {k: once.high - once.low for k, (once, _) in widths.items()} == pytest.approx(
        {k: four.high - four.low for k, (_, four) in widths.items()}, rel=1e-3
    )


def test_a_bin_has_the_mean_of_its_rows():
    """Each mean lies between its limits; an empty bin has none."""
    draw = np.random.default_rng(4)
    values, bins = draw.normal(5, 1, 200), draw.integers(0, 2, 200)
    first, second, empty = binned_means(values, bins, [str(row) for row in range(200)], 3)
    assert (first.mean, second.mean) == pytest.approx((values[bins == 0].mean(), values[bins == 1].mean()))
    assert first.low < first.mean < first.high
    assert empty is None


def test_scores_that_are_probabilities_have_the_ece_of_chance():
    """Outcomes drawn from the scores have about that ECE, which is larger with fewer videos."""
    draw = np.random.default_rng(3)
    viral, zeros = draw.beta(2, 8, 4000), np.zeros(4000)
    drawn = [Predictions(viral, zeros, draw.random(4000) < viral, zeros) for _ in range(40)]
    once = np.ones((1, 4000))
    found = calibrated_ece(drawn[0], [str(row) for row in range(4000)])
    assert found.difference == pytest.approx(
        np.mean([FIGURES["ece"](each, once)[0] for each in drawn]), rel=0.1
    )
    ten_rows_each = Predictions(
        *(
            np.repeat(getattr(drawn[0], name)[:400], 10)
            for name in ("viral", "log_velocity", "is_viral", "true_log_velocity")
        )
    )
    assert calibrated_ece(ten_rows_each, np.repeat(np.arange(400), 10)).difference > 2 * found.difference
