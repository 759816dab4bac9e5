"""FeatureScaler: standardise the scalar features with the training rows' statistics."""

import numbers
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
# This far from the training rows no answer means anything, and a little further float32 overflows. It only
# applies where no range was learned: a constant feature, or statistics from elsewhere.
FARTHEST = 1e6
# For Monday to Sunday. The first trained file coded their English names with scikit-learn's LabelEncoder,
# which sorts: Friday 0, Monday 1, Saturday 2, Sunday 3, Thursday 4, Tuesday 5, Wednesday 6.
DEFAULT_CODES = {"publish_dayofweek": (1, 5, 6, 4, 0, 2, 3)}


class FeatureScaler:
    """(x - mean_) / scale_ per feature, after clipping x to the training rows' range [low_, high_].

    Follows scikit-learn's transformer contract: `fit` returns self and what it learned ends in `_`.
    Missing values (NaN) take the mean, so they are 0 in the result. Clipping keeps the network inside
    the region it was trained on: a ReLU network extrapolates linearly and confidently.
    """

    codes: Mapping[str, FloatArray]
    """What training replaced a feature's values 0, 1, ... with, such as weekdays with a LabelEncoder's."""
    feature_names_in_: tuple[str, ...]
    mean_: FloatArray
    scale_: FloatArray
    low_: FloatArray
    high_: FloatArray

    def __init__(self, codes: Mapping[str, FloatArray] | None = None) -> None:
        """`codes` has the code of each value of a coded feature from 0 on, NaN for one that did not occur."""
        self.codes = codes or {}

    def fit(self, rows: ArrayLike, names: Sequence[str]) -> Self:
        """Learn mean, standard deviation and range from (N, F) training rows; NaN means missing.

        A feature that is constant (or always missing) gets scale 1: the trainer gives it no weight.
        """
        values = np.asarray(rows, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(names) or len(values) == 0:
            raise ValueError(
                f"rows are {values.shape}, expected (N > 0, {len(names)}) for {len(names)} names"
            )
        if np.isinf(values).any():
            raise ValueError("rows hold infinite values")
        values = self._coded(values, names)
        known = ~np.isnan(values)
        count = np.maximum(known.sum(axis=0), 1)
        self.feature_names_in_ = tuple(names)
        self.mean_ = np.where(known, values, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, values - self.mean_, 0.0) ** 2).sum(axis=0) / count)
        self.low_ = np.where(known, values, np.inf).min(axis=0)
        self.high_ = np.where(known, values, -np.inf).max(axis=0)
        # A spread that underflows to 0 can't be divided by.
        constant = ~((self.high_ > self.low_) & (spread > 0))
        self.scale_ = np.where(constant, 1.0, spread)
        # A range of one value would erase the input; nothing was learned from it.
        self.low_ = np.where(constant, -np.inf, self.low_)
        self.high_ = np.where(constant, np.inf, self.high_)
        return self

    def transform(self, rows: ArrayLike) -> NDArray[np.float32]:
        """(N, F) raw features to (N, F) standardised float32, always finite."""
        if not hasattr(self, "mean_"):
            raise RuntimeError("this FeatureScaler has learned nothing yet; call fit or from_stats first")
        values = np.asarray(rows, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.feature_names_in_):
            raise ValueError(f"rows are {values.shape}, fitted on (N, {len(self.feature_names_in_)})")
        clipped = np.clip(self._coded(values, self.feature_names_in_), self.low_, self.high_)
        with np.errstate(over="ignore"):  # infinite is beyond FARTHEST, too
            standard = np.clip((clipped - self.mean_) / self.scale_, -FARTHEST, FARTHEST)
        return np.where(np.isnan(standard), 0.0, standard).astype(np.float32)

    def _coded(self, values: FloatArray, names: Sequence[str]) -> FloatArray:
        """(N, F) raw features with the coded ones replaced by their codes."""
        if not self.codes:
            return values
        values = values.copy()
        for name, codes in self.codes.items():
            column = values[:, list(names).index(name)]
            known = ~np.isnan(column)
            column[known] = codes[column[known].astype(np.int64)]
        return values

    @property
    def is_constant_(self) -> NDArray[np.bool_]:
        """(F,) True for features that did not vary in the training rows: scale 1 and no range."""
        return np.asarray(np.isinf(self.low_) & np.isinf(self.high_) & (self.scale_ == 1.0))

    def to_stats(self) -> dict[str, dict[str, Any]]:
        """What was learned as plain values, per feature: the checkpoint's `feature_stats`."""
        bounds = zip(self.low_.tolist(), self.high_.tolist(), strict=True)
        moments = zip(self.mean_.tolist(), self.scale_.tolist(), strict=True)
        return {
            name: {
                "mean": mean,
                "scale": scale,
                "low": low if np.isfinite(low) else None,
                "high": high if np.isfinite(high) else None,
                **self._codes_of(name),
            }
            for name, (mean, scale), (low, high) in zip(self.feature_names_in_, moments, bounds, strict=True)
        }

    def _codes_of(self, name: str) -> dict[str, list[float | None]]:
        if name not in self.codes:
            return {}
        return {"codes": [None if np.isnan(code) else code for code in self.codes[name].tolist()]}

    @classmethod
    def from_stats(cls, stats: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Self:
        """The scaler that `stats` describes, its columns in the order of `names`.

        `mean` and `scale` are required, `low` and `high` may be missing or null: then nothing is clipped.
        `codes` has the code of each of the feature's values; without it, `DEFAULT_CODES` apply.
        Raises `ValueError` naming the feature whose statistics are missing or unusable.
        """
        missing = [name for name in names if name not in stats]
        if missing:
            raise ValueError(f"no statistics for {', '.join(missing)}")
        scaler = cls(
            {name: _codes(name, stats[name].get("codes")) for name in names if name in DEFAULT_CODES}
        )
        scaler.feature_names_in_ = tuple(names)
        scaler.mean_ = _column(stats, names, "mean", None)
        scaler.scale_ = _column(stats, names, "scale", None)
        scaler.low_ = _column(stats, names, "low", -np.inf)
        scaler.high_ = _column(stats, names, "high", np.inf)
        for name, scale, low, high in zip(names, scaler.scale_, scaler.low_, scaler.high_, strict=True):
            if scale <= 0:
                raise ValueError(f"{name}: scale is {scale}, expected above 0")
            if low > high:
                raise ValueError(f"{name}: low is {low}, above high, {high}")
        return scaler


def _column(
    stats: Mapping[str, Mapping[str, Any]], names: Sequence[str], key: str, default: float | None
) -> FloatArray:
    """One statistic of every name; `default` where it is missing or null; None makes it required."""
    column = []
    for name in names:
        if not isinstance(stats[name], Mapping):
            raise ValueError(f"{name}: is {stats[name]!r}, expected mean and scale")  # noqa: TRY004 a file's fault
        value = stats[name].get(key)
        column.append(default if value is None and default is not None else _finite(name, key, value))
    return np.array(column, dtype=np.float64)


def _codes(name: str, given: Any) -> FloatArray:
    """The code of each value of a coded feature. Raises `ValueError`."""
    default = DEFAULT_CODES[name]
    codes = default if given is None else given
    if not isinstance(codes, list | tuple) or len(codes) != len(default):
        raise ValueError(f"{name}: codes are {codes!r}, expected {len(default)} numbers")
    return np.array([np.nan if code is None else _finite(name, "codes", code) for code in codes])


def _finite(name: str, key: str, value: Any) -> float:
    try:
        number = float(value) if isinstance(value, numbers.Real) else np.nan
    except OverflowError:  # an integer of four hundred digits
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"{name}: {key} is {value!r}, expected a finite number")
    return number
