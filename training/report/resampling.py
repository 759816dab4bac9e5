"""Bootstrap intervals over videos: of means within bins, and of a difference in PR-AUC.

Rows of one video depend on each other, so videos are resampled, not rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.metrics import BoolArray, Interval, Predictions

FloatArray = NDArray[np.float64]
RESAMPLES = 400
CHUNK = 50  # resamples at a time: 50 x 10,000 rows of float64 are 4 MB
LIMITS = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class BinnedMean:
    """The mean of one bin's rows with its 95% interval by video."""

    mean: float
    low: float
    high: float
    rows: int


def binned_means(
    values: FloatArray, bins: NDArray[np.int64], groups: Sequence[str], count: int, seed: int = 0
) -> list[BinnedMean | None]:
    """The mean of `values` in each of `count` bins, rows in bins 0..count-1; None for an empty bin."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums, rows = np.zeros((len(names), count)), np.zeros((len(names), count))
    np.add.at(sums, (index, bins), values)
    np.add.at(rows, (index, bins), 1)
    drawn = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES
    )  # (R, videos)
    total, of = drawn @ sums, drawn @ rows
    means = np.divide(total, of, out=np.full_like(total, np.nan), where=of > 0)
    found: list[BinnedMean | None] = []
    for column in range(count):
        size = int(rows[:, column].sum())
        if not size:
            found.append(None)
            continue
        low, high = np.nanquantile(means[:, column], LIMITS)
        found.append(BinnedMean(float(sums[:, column].sum() / size), float(low), float(high), size))
    return found


def weighted_average_precision(truth: BoolArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """PR-AUC of the same N rows under R sets of weights, (R, N) to (R,); ties share one step.

    The area is the sum of precision times the step in recall, as in scikit-learn's average precision.
    NaN where the weights leave no viral row.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(-scores[order], prepend=-np.inf) > 0)
    hits = np.add.reduceat(weights[:, order] * truth[order], starts, axis=1)  # (R, distinct scores)
    rows = np.cumsum(np.add.reduceat(weights[:, order], starts, axis=1), axis=1)
    found = np.cumsum(hits, axis=1)
    precision = np.divide(found, rows, out=np.zeros_like(found), where=rows > 0)
    unknown = np.full(len(weights), np.nan)
    area: FloatArray = np.divide(
        (precision * hits).sum(axis=1), found[:, -1], out=unknown, where=found[:, -1] > 0
    )
    return area


def paired_pr_auc(first: Predictions, second: Predictions, groups: Sequence[str], seed: int = 0) -> Interval:
    """PR-AUC of `first` minus `second` on the same rows, with its 95% interval by video."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    generator = np.random.default_rng(seed)

    def difference(weights: FloatArray) -> FloatArray:
        one, other = (
            weighted_average_precision(each.is_viral, each.viral, weights) for each in (first, second)
        )
        return one - other

    samples = []
    for start in range(0, RESAMPLES, CHUNK):
        drawn = generator.multinomial(
            len(names), np.full(len(names), 1 / len(names)), size=min(CHUNK, RESAMPLES - start)
        )
        samples.append(difference(drawn[:, index].astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(samples), LIMITS)
    return Interval(float(difference(np.ones((1, len(index))))[0]), float(low), float(high))
