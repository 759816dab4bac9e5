"""How a quantity was distributed in the training rows, and how far other rows are from that.

Bins are the training rows' deciles, and one more for rows without the value: an unknown age must not look
like an old video or a young one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.scaler import FloatArray

DECILES = np.arange(1, 10) / 10
MIDDLE = (0.005, 0.995)  # 99 % of the rows
MOST_EDGES = 100
# A bin that is empty on one side would make the index infinite.
SMALLEST_SHARE = 1e-4
SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Distribution:
    """E ascending `edges` of E + 1 bins that include their upper edge; (E + 2,) `shares`, missing last.

    `middle` is the range of the middle 99 % of the known values; None if fitted before it was recorded.
    """

    edges: FloatArray
    shares: FloatArray
    middle: tuple[float, float] | None = None

    @classmethod
    def fit(cls, values: ArrayLike) -> Self | None:
        """The distribution of (N > 0,) training values, NaN for missing; None if they did not vary."""
        column = np.asarray(values, dtype=np.float64)
        known = column[~np.isnan(column)]
        if not known.size or known.min() == known.max():
            return None
        cuts = np.unique(np.quantile(known, DECILES, method="inverted_cdf"))
        edges = cuts[cuts < known.max()]  # there are rows beyond the last edge; flags have one edge
        if not edges.size:  # more than nine tenths of the rows have the largest value
            edges = np.array([known[known < known.max()].max()])
        fitted = cls(edges, np.empty(0))
        counts = fitted.count(column)
        low, high = np.quantile(known, MIDDLE, method="inverted_cdf").tolist()
        return cls(edges, counts / counts.sum(), (low, high))

    def count(self, values: ArrayLike) -> NDArray[np.int64]:
        """How many of (N,) values lie in each bin, (E + 2,)."""
        column = np.asarray(values, dtype=np.float64)
        bins = np.searchsorted(self.edges, column, side="left")
        bins[np.isnan(column)] = len(self.edges) + 1
        return np.bincount(bins, minlength=len(self.edges) + 2)

    def stability_index(self, counts: ArrayLike) -> float:
        """The population stability index of `counts`, (E + 2,), against the training shares.

        sum((actual - expected) * ln(actual / expected)), Siddiqi, Credit Risk Scorecards (Wiley 2006), where
        below 0.1 counts as no change and above 0.25 as significant. It is the symmetrised divergence of
        Kullback and Leibler (1951). N unchanged rows in B bins give (B - 1) / N on average.
        """
        found = np.asarray(counts, dtype=np.float64)
        actual = np.maximum(found / found.sum(), SMALLEST_SHARE)
        expected = np.maximum(self.shares, SMALLEST_SHARE)
        return float(((actual - expected) * np.log(actual / expected)).sum())

    def to_plain(self) -> dict[str, list[float]]:
        """Plain values, as a checkpoint holds them."""
        bins = {"edges": self.edges.tolist(), "shares": self.shares.tolist()}
        return bins if self.middle is None else {**bins, "middle": list(self.middle)}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """The distribution that `to_plain` wrote. Raises `ValueError` for anything else."""
        if not isinstance(values, Mapping):
            raise ValueError(f"is {type(values).__name__}, expected edges and shares")  # noqa: TRY004 a file's fault
        edges, shares = _numbers(values, "edges"), _numbers(values, "shares")
        if not 1 <= len(edges) <= MOST_EDGES or any(low >= high for low, high in pairwise(edges)):
            raise ValueError(f"has {len(edges)} edges, expected 1 to {MOST_EDGES}, ascending")
        if len(shares) != len(edges) + 2 or shares.min() < 0 or abs(shares.sum() - 1) > SUM_TOLERANCE:
            raise ValueError(
                f"has {len(shares)} shares with the sum {shares.sum():g}, "
                f"expected {len(edges) + 2} with the sum 1"
            )
        if values.get("middle") is None:
            return cls(edges, shares)
        middle = _numbers(values, "middle").tolist()
        if len(middle) != 2 or middle[0] > middle[1]:
            raise ValueError(f"has {len(middle)} numbers in middle, expected two, ascending")
        return cls(edges, shares, (middle[0], middle[1]))


def fit_distributions(rows: FloatArray, names: Sequence[str]) -> dict[str, Distribution]:
    """The distribution of every column of (N, F) training rows that varied."""
    fitted = {name: Distribution.fit(column) for name, column in zip(names, rows.T, strict=True)}
    return {name: distribution for name, distribution in fitted.items() if distribution is not None}


def _numbers(values: Mapping[str, Any], key: str) -> FloatArray:
    try:
        numbers = np.array(values.get(key), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as exc:
        raise ValueError(f"{key} is not a list of numbers ({exc})") from exc
    if numbers.ndim != 1 or not np.isfinite(numbers).all():
        raise ValueError(f"{key} is not a list of finite numbers")
    return numbers
