"""The whole row of figures for one set of predictions, and the interval of a difference between two.

AUROC alone hides a score that never says "viral"; so every checkpoint gets all of these.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve, roc_auc_score

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ECE_BINS = 10
RESAMPLES = 1000
FIGURE_RESAMPLES = 200  # where every metric is computed again
CHUNK = 100  # resamples at a time: 100 x 10,000 rows of float64 are 8 MB


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predicted and actual P(viral) and log1p(views per day) of N rows."""

    viral: FloatArray
    log_velocity: FloatArray
    is_viral: BoolArray
    true_log_velocity: FloatArray


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """One row of the results table; MAE and R2 are in log1p(views per day)."""

    auroc: float
    pr_auc: float
    f1: float
    f1_threshold: float
    brier: float
    ece: float
    mae: float
    r2: float
    spearman: float

    def to_dict(self) -> dict[str, float]:
        """Plain floats by name."""
        return asdict(self)


def metrics_row(predictions: Predictions, f1_threshold: float) -> MetricsRow:
    """All figures; both classes must be there. The threshold comes from rows other than these."""
    truth, viral = predictions.is_viral, predictions.viral
    error = predictions.log_velocity - predictions.true_log_velocity
    spread = predictions.true_log_velocity - predictions.true_log_velocity.mean()
    return MetricsRow(
        auroc=float(roc_auc_score(truth, viral)),
        pr_auc=float(average_precision_score(truth, viral)),
        f1=float(f1_score(truth, viral >= f1_threshold)),
        f1_threshold=float(f1_threshold),
        brier=float(np.mean((viral - truth) ** 2)),
        ece=calibration_error(truth, viral),
        mae=float(np.abs(error).mean()),
        r2=float(1 - (error**2).sum() / (spread**2).sum()),
        spearman=_rank_correlation(predictions),
    )


def _rank_correlation(predictions: Predictions) -> float:
    """Spearman's; 0 for a constant, which ranks nothing."""
    if np.ptp(predictions.log_velocity) == 0:
        return 0.0
    return float(spearmanr(predictions.log_velocity, predictions.true_log_velocity).statistic)


def calibration_error(truth: BoolArray, viral: FloatArray, bins: int = ECE_BINS) -> float:
    """Expected calibration error: |mean score - share of virals| over equal-width bins, by their rows."""
    index = np.minimum((viral * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(index, weights=viral - truth, minlength=bins)
    return float(np.abs(gaps).sum() / len(viral))


def best_f1_threshold(predictions: Predictions) -> float:
    """The score at and above which calling a row viral gives the highest F1 on these rows."""
    precision, recall, thresholds = precision_recall_curve(predictions.is_viral, predictions.viral)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return float(thresholds[int(np.argmax(f1[:-1]))])


def weighted_auroc(truth: BoolArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """AUROC of the same N rows under R sets of weights, (R, N) to (R,); ties count half.

    NaN where the weights leave only one class.
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
    positive = np.add.reduceat(weights[:, order] * truth[order], starts, axis=1)  # (R, distinct scores)
    negative = np.add.reduceat(weights[:, order] * ~truth[order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    unknown = np.full(len(weights), np.nan)
    area: FloatArray = np.divide((positive * below).sum(axis=1), pairs, out=unknown, where=pairs > 0)
    return area


@dataclass(frozen=True, slots=True)
class Interval:
    """A paired difference, first minus second, with its 95% bootstrap interval."""

    difference: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain floats by name."""
        return asdict(self)


def paired_intervals(
    first: Predictions, second: Predictions, groups: Sequence[str], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """AUROC, Brier and MAE of `first` minus `second` on the same rows, by a bootstrap over videos (`groups`).

    Rows of one video depend on each other, so videos are resampled, not rows.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    generator = np.random.default_rng(seed)
    once = np.ones((1, len(index)))
    samples: dict[str, list[FloatArray]] = {name: [] for name in _STATISTICS}
    for start in range(0, resamples, CHUNK):
        count = min(CHUNK, resamples - start)
        drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
        weights = drawn[:, index].astype(np.float64)  # (R, N)
        for name, statistic in _STATISTICS.items():
            samples[name].append(statistic(first, weights) - statistic(second, weights))
    intervals = {}
    for name, statistic in _STATISTICS.items():
        low, high = np.nanquantile(np.concatenate(samples[name]), [0.025, 0.975])
        difference = float((statistic(first, once) - statistic(second, once))[0])
        intervals[name] = Interval(difference, float(low), float(high))
    return intervals


def figure_intervals(
    predictions: Predictions,
    f1_threshold: float,
    groups: Sequence[str],
    seed: int = 0,
    resamples: int = FIGURE_RESAMPLES,
) -> dict[str, Interval]:
    """Every figure with its 95% interval, by a bootstrap over videos; `difference` is the metric itself."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(resamples):
        drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)))
        rows = np.repeat(np.arange(len(index)), drawn[index])
        again = Predictions(*(getattr(predictions, name)[rows] for name in Predictions.__slots__))
        if 0 < again.is_viral.sum() < len(rows):
            samples.append(metrics_row(again, f1_threshold).to_dict())
    figures = metrics_row(predictions, f1_threshold).to_dict()
    del figures["f1_threshold"]
    intervals = {}
    for name, figure in figures.items():
        low, high = np.quantile([sample[name] for sample in samples], [0.025, 0.975])
        intervals[name] = Interval(figure, float(low), float(high))
    return intervals


def _auroc(predictions: Predictions, weights: FloatArray) -> FloatArray:
    return weighted_auroc(predictions.is_viral, predictions.viral, weights)


def _brier(predictions: Predictions, weights: FloatArray) -> FloatArray:
    return _weighted_mean((predictions.viral - predictions.is_viral) ** 2, weights)


def _mae(predictions: Predictions, weights: FloatArray) -> FloatArray:
    return _weighted_mean(np.abs(predictions.log_velocity - predictions.true_log_velocity), weights)


def _weighted_mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    mean: FloatArray = (weights @ values) / weights.sum(axis=1)
    return mean


_STATISTICS: dict[str, Callable[[Predictions, FloatArray], FloatArray]] = {
    "auroc": _auroc,
    "brier": _brier,
    "mae": _mae,
}
