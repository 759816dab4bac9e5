"""How the regression target was transformed in training, and the way back to views per day."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.values import finite_number, shown

FloatArray = NDArray[np.float64]

# No video has more views a day; statistics that say otherwise were fitted on something else.
LARGEST_LOG = 50.0
LARGEST_VIEWS = 1e21


@dataclass(frozen=True, slots=True)
class LogVelocity:
    """target = (log1p(views per day) - mean) / scale.

    `high` is the largest log1p(views per day) of the training rows: beyond it the network has seen
    nothing, and expm1 would turn a small error into billions of views.
    """

    mean: float
    scale: float
    high: float
    transform: str = "log1p"

    def apply(self, views_per_day: FloatArray) -> FloatArray:
        """Views per day to the target that the network learns."""
        return np.asarray((np.log1p(views_per_day) - self.mean) / self.scale)

    def invert(self, target: FloatArray) -> FloatArray:
        """What the network says, as views per day: finite, never negative."""
        with np.errstate(over="ignore"):  # an overflow is infinite, and clipped like every other excess
            logs = np.asarray(target, dtype=np.float64) * self.scale + self.mean
        return np.expm1(np.clip(logs, 0.0, self.high))


@dataclass(frozen=True, slots=True)
class MinMaxVelocity:
    """target = (views per day - low) / (high - low), within [0, 1]: the owner's first file."""

    low: float
    high: float
    transform: str = "min-max"

    def apply(self, views_per_day: FloatArray) -> FloatArray:
        """Views per day to the target that the network learns."""
        return np.asarray((views_per_day - self.low) / (self.high - self.low))

    def invert(self, target: FloatArray) -> FloatArray:
        """What the network says, as views per day within the training rows' bounds, never negative."""
        views = np.clip(np.asarray(target, dtype=np.float64), 0.0, 1.0) * (self.high - self.low) + self.low
        return np.maximum(views, 0.0)


Velocity = LogVelocity | MinMaxVelocity


def velocity_from(values: Mapping[str, Any]) -> Velocity:
    """The transform that a checkpoint's `velocity` describes; `ValueError` names what is unusable."""
    kind = values.get("transform")
    if kind == "log1p":
        mean, scale, high = (_finite(values, name) for name in ("mean", "scale", "high"))
        if scale <= 0:
            raise ValueError(f"scale is {scale}, expected above 0")
        if not 0 < high <= LARGEST_LOG:
            raise ValueError(f"high is {high}, expected above 0 and at most {LARGEST_LOG:g}")
        return LogVelocity(mean=mean, scale=scale, high=high)
    if kind == "min-max":
        low, high = _finite(values, "low"), _finite(values, "high")
        if not max(low, 0.0) < high <= LARGEST_VIEWS:
            raise ValueError(
                f"low is {low} and high {high}, expected high above low and 0, at most {LARGEST_VIEWS:g}"
            )
        return MinMaxVelocity(low=low, high=high)
    raise ValueError(f"transform is {shown(kind)}, expected log1p or min-max")


def _finite(values: Mapping[str, Any], name: str) -> float:
    number = finite_number(values.get(name))
    if number is None:
        raise ValueError(f"{name} is {shown(values.get(name))}, expected a finite number")
    return number
