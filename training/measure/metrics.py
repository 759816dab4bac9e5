"""Every figure of a set of predictions, its interval, and the interval of a difference between two models.

Rows of one video depend on each other, so the bootstrap draws videos, not rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.measure.figures import (
    FIGURES,
    PAIRED,
    BoolArray,
    FloatArray,
    Predictions,
    Statistic,
    calibration_gaps,
    figures_of,
    mean,
    ratio,
)

SEED, RESAMPLES = 0, 1000
FIGURE_RESAMPLES = 200  # where every metric is computed again
CHUNK = 100  # resamples at a time: 100 x 20,000 rows of float64 are 16 MB
LIMITS = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """One row of the results table; MAE, R2 and nMSE are in log1p(views per day).

    nMSE is the mean squared error divided by the variance of the truth. `lift` is the share of viral rows in
    the tenth with the highest scores, divided by their share in all rows. `coverage` is the share of rows
    whose truth lies in the velocity's interval, None without one.
    """

    auroc: float
    pr_auc: float
    f1: float
    f1_threshold: float
    brier: float
    ece: float
    mae: float
    r2: float
    nmse: float
    spearman: float
    lift: float
    coverage: float | None = None


def metrics_row(predictions: Predictions, f1_threshold: float) -> MetricsRow:
    """All figures; both classes must be present. The threshold comes from rows other than these."""
    once = np.ones((1, len(predictions.viral)))
    statistics = figures_of(predictions, f1_threshold)
    figures = {name: float(statistic(predictions, once)[0]) for name, statistic in statistics.items()}
    return MetricsRow(**figures, f1_threshold=float(f1_threshold))


def best_f1_threshold(predictions: Predictions) -> float:
    """The score at and above which calling a row viral gives the highest F1 on these rows."""
    from sklearn.metrics import precision_recall_curve  # here: it takes seconds, and outcomes do not need it

    precision, recall, thresholds = precision_recall_curve(predictions.is_viral, predictions.viral)
    f1 = ratio(2 * precision * recall, precision + recall, 0.0)
    return float(thresholds[int(np.argmax(f1[:-1]))])


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure, or a difference of two, first minus second, with its 95% bootstrap interval."""

    difference: float
    low: float
    high: float

    def __format__(self, number: str) -> str:
        """The figure and its interval, each in the format `number`."""
        return f"{self.difference:{number}} [{self.low:{number}}, {self.high:{number}}]"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def plain(value: Any) -> Any:
    """`value` as JSON types: a dataclass by its `to_dict`, or by its fields that are not None."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if is_dataclass(value):
        known = {each.name: getattr(value, each.name) for each in fields(value)}
        return {name: plain(each) for name, each in known.items() if each is not None}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.isoformat() if isinstance(value, datetime) else value


Samples = dict[str, FloatArray]
"""By figure (1 + R,) values: the figure itself, then those of R bootstrap samples."""


def resample(
    statistics: Mapping[str, Callable[[FloatArray], FloatArray]],
    groups: Sequence[str],
    resamples: int = RESAMPLES,
) -> Samples:
    """Values of each function of (R, N) row weights, by drawing `groups` (videos) with replacement.

    The same groups give the same draws, so values of two models are paired.
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    generator = np.random.default_rng(SEED)
    once = np.ones((1, len(index)))
    samples = {name: [statistic(once)] for name, statistic in statistics.items()}
    for start in range(0, resamples, CHUNK):
        count = min(CHUNK, resamples - start)
        drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
        weights = drawn[:, index].astype(np.float64)  # (R, N)
        for name, statistic in statistics.items():
            samples[name].append(statistic(weights))
    return {name: np.concatenate(values) for name, values in samples.items()}


def intervals_of(samples: Samples) -> dict[str, Interval]:
    """The 95% interval of each figure."""
    limits = {name: np.nanquantile(values[1:], LIMITS) for name, values in samples.items()}
    return {name: Interval(float(values[0]), *map(float, limits[name])) for name, values in samples.items()}


def paired_samples(predictions: Predictions, groups: Sequence[str], resamples: int = RESAMPLES) -> Samples:
    """AUROC, PR-AUC, Brier and MAE, to be subtracted from those of other predictions for the same rows."""
    return resample(_bound(predictions, {name: FIGURES[name] for name in PAIRED}), groups, resamples)


def difference(first: Samples, second: Samples) -> dict[str, Interval]:
    """`first` minus `second`, paired."""
    return intervals_of({name: values - second[name] for name, values in first.items()})


def paired_intervals(
    first: Predictions, second: Predictions, groups: Sequence[str], resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """AUROC, PR-AUC, Brier and MAE of `first` minus `second` on the same rows, by video."""
    one, other = (paired_samples(each, groups, resamples) for each in (first, second))
    return difference(one, other)


def figure_intervals(
    predictions: Predictions,
    f1_threshold: float,
    groups: Sequence[str],
    resamples: int = FIGURE_RESAMPLES,
) -> dict[str, Interval]:
    """Every figure with its 95% interval by video; `difference` is the figure itself."""
    statistics = _bound(predictions, figures_of(predictions, f1_threshold))
    return intervals_of(resample(statistics, groups, resamples))


def calibrated_ece(predictions: Predictions, groups: Sequence[str]) -> Interval:
    """The ECE that perfectly calibrated scores would have on these rows by chance, with its 95% range.

    The gaps between score and outcome keep their sizes, and those of each group (video) change sign together
    at random: the wild cluster bootstrap (Cameron, Gelbach and Miller 2008).
    """
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    gaps = calibration_gaps(predictions)
    by_group = np.stack([np.bincount(index, column, len(names)) for column in gaps.T], axis=1)
    signs = np.random.default_rng(SEED).choice([-1.0, 1.0], size=(RESAMPLES, len(names)))
    errors = np.abs(signs @ by_group).sum(axis=1) / len(gaps)
    return Interval(float(errors.mean()), *map(float, np.quantile(errors, LIMITS)))


def _bound(
    predictions: Predictions, statistics: Mapping[str, Statistic]
) -> dict[str, Callable[[FloatArray], FloatArray]]:
    return {name: partial(statistic, predictions) for name, statistic in statistics.items()}


@dataclass(frozen=True, slots=True)
class BinnedMean:
    """The mean of one bin's rows with its 95% interval by video."""

    mean: float
    low: float
    high: float
    rows: int


def binned_means(
    values: FloatArray, bins: NDArray[np.int64], groups: Sequence[str], count: int
) -> list[BinnedMean | None]:
    """The mean of `values` in each of `count` bins, rows in bins 0..count-1; None for an empty bin."""

    def of_bin(inside: BoolArray) -> Callable[[FloatArray], FloatArray]:
        return lambda weights: mean(values[inside], weights[:, inside])

    found = {str(each): of_bin(bins == each) for each in np.unique(bins)}
    intervals = {int(each): interval for each, interval in intervals_of(resample(found, groups)).items()}
    rows = np.bincount(bins, minlength=count)
    return [
        BinnedMean(interval.difference, interval.low, interval.high, int(rows[each]))
        if (interval := intervals.get(each))
        else None
        for each in range(count)
    ]
