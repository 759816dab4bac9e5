"""FeatureScaler: standardise the scalar features with what the training rows taught."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


class FeatureScaler:
    """(x - mean_) / scale_ per feature, after the training rows' range [low_, high_] has clipped x.

    Follows scikit-learn's transformer contract: `fit` returns self and what it learned ends in `_`.
    Missing values (NaN) take the mean, so they are 0 in the result. Clipping keeps the network inside
    the region it was trained on: a ReLU network extrapolates linearly and without doubt.
    """

    feature_names_in_: tuple[str, ...]
    mean_: FloatArray
    scale_: FloatArray
    low_: FloatArray
    high_: FloatArray

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
        known = ~np.isnan(values)
        count = np.maximum(known.sum(axis=0), 1)
        self.feature_names_in_ = tuple(names)
        self.mean_ = np.where(known, values, 0.0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, values - self.mean_, 0.0) ** 2).sum(axis=0) / count)
        self.low_ = np.where(known, values, np.inf).min(axis=0)
        self.high_ = np.where(known, values, -np.inf).max(axis=0)
        constant = ~(self.high_ > self.low_)
        self.scale_ = np.where(constant, 1.0, spread)
        # A range of one value would erase the input; it is not a range that anything was learned from.
        self.low_ = np.where(constant, -np.inf, self.low_)
        self.high_ = np.where(constant, np.inf, self.high_)
        return self

    def transform(self, rows: ArrayLike) -> NDArray[np.float32]:
        """(N, F) raw features to (N, F) standardised float32, always finite."""
        values = np.asarray(rows, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.feature_names_in_):
            raise ValueError(f"rows are {values.shape}, fitted on (N, {len(self.feature_names_in_)})")
        clipped = np.clip(values, self.low_, self.high_)
        standard = (clipped - self.mean_) / self.scale_
        return np.where(np.isnan(standard), 0.0, standard).astype(np.float32)

    @property
    def is_constant_(self) -> NDArray[np.bool_]:
        """(F,) True for features that did not vary in the training rows."""
        return np.isinf(self.low_) & np.isinf(self.high_)

    def to_stats(self) -> dict[str, dict[str, float | None]]:
        """What was learned as plain values, per feature: the checkpoint's `feature_stats`."""
        bounds = zip(self.low_.tolist(), self.high_.tolist(), strict=True)
        moments = zip(self.mean_.tolist(), self.scale_.tolist(), strict=True)
        return {
            name: {
                "mean": mean,
                "scale": scale,
                "low": low if np.isfinite(low) else None,
                "high": high if np.isfinite(high) else None,
            }
            for name, (mean, scale), (low, high) in zip(self.feature_names_in_, moments, bounds, strict=True)
        }

    @classmethod
    def from_stats(cls, stats: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> Self:
        """The scaler that `stats` describes, its columns in the order of `names`.

        `mean` and `scale` are required, `low` and `high` may be missing or null: then nothing is clipped.
        Raises `ValueError` naming the feature whose statistics are missing or unusable.
        """
        missing = [name for name in names if name not in stats]
        if missing:
            raise ValueError(f"no statistics for {', '.join(missing)}")
        scaler = cls()
        scaler.feature_names_in_ = tuple(names)
        scaler.mean_ = _column(stats, names, "mean", None)
        scaler.scale_ = _column(stats, names, "scale", None)
        scaler.low_ = _column(stats, names, "low", -np.inf)
        scaler.high_ = _column(stats, names, "high", np.inf)
        for index, name in enumerate(names):
            if not np.isfinite(scaler.mean_[index]) or not 0 < scaler.scale_[index] < np.inf:
                raise ValueError(
                    f"{name}: mean {scaler.mean_[index]} and scale {scaler.scale_[index]} "
                    "must be finite and scale above 0"
                )
        return scaler


def _column(
    stats: Mapping[str, Mapping[str, Any]], names: Sequence[str], key: str, default: float | None
) -> FloatArray:
    values = []
    for name in names:
        value = stats[name].get(key)
        value = default if value is None else value
        if not isinstance(value, int | float):
            raise ValueError(f"{name}: {key} is {value!r}, expected a number")  # noqa: TRY004 a file's fault
        values.append(float(value))
    return np.array(values, dtype=np.float64)
