"""The figures: each is one function of N predictions and of R sets of row weights, (R, N) to (R,).

With weights of 1 it is the figure itself; with a bootstrap's weights, its spread.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

ECE_BINS = 10
TOP_SHARE = 0.1  # of the rows, for the lift


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predicted and actual P(viral) and log1p(views per day) of N rows.

    `low` and `high` are the ends of the velocity's interval, also in log1p; None without one.
    """

    viral: FloatArray
    log_velocity: FloatArray
    is_viral: BoolArray
    true_log_velocity: FloatArray
    low: FloatArray | None = None
    high: FloatArray | None = None

    def only(self, rows: BoolArray) -> "Predictions":
        """The predictions for some of the rows."""
        columns = (getattr(self, name) for name in self.__slots__)
        kept: list[Any] = [None if column is None else column[rows] for column in columns]
        return Predictions(*kept)


Statistic = Callable[[Predictions, FloatArray], FloatArray]
"""From N predictions and (R, N) weights to R figures."""


def mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(R,) weighted means of (N,) values; NaN where the weights are all 0."""
    return ratio(weights @ values, weights.sum(axis=1))


def ratio(above: FloatArray, below: FloatArray, otherwise: float = np.nan) -> FloatArray:
    """`above` / `below`, of the same shape; `otherwise` where `below` is 0."""
    found: FloatArray = np.divide(above, below, out=np.full(below.shape, otherwise), where=below > 0)
    return found


def _by_score(predictions: Predictions, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The weights of viral rows and of all rows by distinct score, the highest first: (R, scores) each."""
    order = np.argsort(-predictions.viral, kind="stable")
    starts = np.flatnonzero(np.diff(-predictions.viral[order], prepend=-np.inf) > 0)
    hits = np.add.reduceat(weights[:, order] * predictions.is_viral[order], starts, axis=1)
    return hits, np.add.reduceat(weights[:, order], starts, axis=1)


def _auroc(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """Ties count half. NaN where the weights leave only one class."""
    hits, rows = _by_score(predictions, weights)
    others = rows - hits
    lower = others.sum(axis=1, keepdims=True) - np.cumsum(others, axis=1) + others / 2
    return ratio((hits * lower).sum(axis=1), hits.sum(axis=1) * others.sum(axis=1))


def _pr_auc(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """scikit-learn's average precision: the sum of precision times recall steps; NaN without viral rows."""
    hits, rows = _by_score(predictions, weights)
    found, called = np.cumsum(hits, axis=1), np.cumsum(rows, axis=1)
    return ratio((ratio(found, called, 0.0) * hits).sum(axis=1), found[:, -1])


def _lift(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """Rows with the same score share the places that are left in the top tenth."""
    hits, rows = _by_score(predictions, weights)
    places = TOP_SHARE * rows.sum(axis=1, keepdims=True)
    room = np.clip(places - (np.cumsum(rows, axis=1) - rows), 0, rows)
    return ratio((hits * ratio(room, rows, 0.0)).sum(axis=1), TOP_SHARE * hits.sum(axis=1))


def _f1(threshold: float) -> Statistic:
    def f1(predictions: Predictions, weights: FloatArray) -> FloatArray:
        called, truth = predictions.viral >= threshold, predictions.is_viral
        return ratio(2 * (weights @ (called & truth)), weights @ called + weights @ truth, 0.0)

    return f1


def _ece(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """Expected calibration error: |mean score - viral share| of ten equal bins, weighted by rows."""
    error: FloatArray = np.abs(weights @ calibration_gaps(predictions)).sum(axis=1) / weights.sum(axis=1)
    return error


def calibration_gaps(predictions: Predictions) -> FloatArray:
    """(N, bins) score minus outcome of each row, in the column of its bin; 0 elsewhere."""
    gaps = np.zeros((len(predictions.viral), ECE_BINS))
    gaps[np.arange(len(gaps)), score_bins(predictions.viral)] = predictions.viral - predictions.is_viral
    return gaps


def score_bins(viral: FloatArray) -> NDArray[np.int64]:
    """(N,) the tenth of each score, 0 to 9; a score of 1 is in the last."""
    tenths: NDArray[np.int64] = np.minimum((viral * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    return tenths


def _nmse(predictions: Predictions, weights: FloatArray) -> FloatArray:
    truth = predictions.true_log_velocity
    squares = mean((predictions.log_velocity - truth) ** 2, weights)
    return squares / (mean(truth**2, weights) - mean(truth, weights) ** 2)


def _spearman(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """0 for a constant, which ranks nothing."""
    ranks = [_ranks(values, weights) for values in (predictions.log_velocity, predictions.true_log_velocity)]
    total = weights.sum(axis=1, keepdims=True)
    one, other = (rank - (weights * rank).sum(axis=1, keepdims=True) / total for rank in ranks)
    spread = np.sqrt((weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1))
    return ratio((weights * one * other).sum(axis=1), spread, 0.0)


def _ranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(R, N) ranks as if each row were repeated by its weight; ties share their mean rank."""
    _, index = np.unique(values, return_inverse=True)
    order = np.argsort(index, kind="stable")
    starts = np.flatnonzero(np.diff(index[order], prepend=-1) > 0)
    rows = np.add.reduceat(weights[:, order], starts, axis=1)
    middle: FloatArray = np.cumsum(rows, axis=1) - rows / 2
    return middle[:, index]


FIGURES: dict[str, Statistic] = {
    "auroc": _auroc,
    "pr_auc": _pr_auc,
    "brier": lambda p, weights: mean((p.viral - p.is_viral) ** 2, weights),
    "ece": _ece,
    "mae": lambda p, weights: mean(np.abs(p.log_velocity - p.true_log_velocity), weights),
    "r2": lambda p, weights: 1 - _nmse(p, weights),
    "nmse": _nmse,
    "spearman": _spearman,
    "lift": _lift,
}
PAIRED = ("auroc", "pr_auc", "brier", "mae")


def _coverage(predictions: Predictions, weights: FloatArray) -> FloatArray:
    truth = predictions.true_log_velocity
    assert predictions.low is not None, "only predictions with an interval have a coverage"
    assert predictions.high is not None, "both ends or neither"
    return mean(((predictions.low <= truth) & (truth <= predictions.high)).astype(np.float64), weights)


def figures_of(predictions: Predictions, f1_threshold: float) -> dict[str, Statistic]:
    """Every figure that these predictions have."""
    covered = {} if predictions.low is None else {"coverage": _coverage}
    return {**FIGURES, "f1": _f1(f1_threshold), **covered}
