"""How the regression target was transformed in training, and the way back to views per day."""

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from model.values import Number

FloatArray = NDArray[np.float64]

# No video has more views a day; statistics beyond were fitted on something else.
MAX_LOG_VIEWS = 50.0
MAX_VIEWS = 1e21


@dataclass(frozen=True, slots=True)
class LogVelocity:
    """target = (log1p(views per day) - mean) / scale.

    `high` is the largest log1p(views per day) of the training rows. Predictions are clipped to it: beyond,
    expm1 would turn a small error into billions of views.
    """

    mean: Number
    scale: Annotated[Number, Field(gt=0)]
    high: Annotated[Number, Field(gt=0, le=MAX_LOG_VIEWS)]
    transform: Literal["log1p"] = "log1p"

    def apply(self, views_per_day: FloatArray) -> FloatArray:
        """Views per day to the target that the network learns."""
        return np.asarray((np.log1p(views_per_day) - self.mean) / self.scale)

    def invert(self, target: FloatArray) -> FloatArray:
        """The network's output as views per day: finite, never negative."""
        with np.errstate(over="ignore"):  # an overflow is infinite, and clipped like every other excess
            logs = np.asarray(target, dtype=np.float64) * self.scale + self.mean
        return np.expm1(np.clip(logs, 0.0, self.high))


@dataclass(frozen=True, slots=True)
class MinMaxVelocity:
    """target = (views per day - low) / (high - low), within [0, 1]: the owner's first file."""

    low: Number
    high: Annotated[Number, Field(gt=0, le=MAX_VIEWS)]
    transform: Literal["min-max"] = "min-max"

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"has low {self.low} and high {self.high}, expected high above low")
        return self

    def apply(self, views_per_day: FloatArray) -> FloatArray:
        """Views per day to the target that the network learns."""
        return np.asarray((views_per_day - self.low) / (self.high - self.low))

    def invert(self, target: FloatArray) -> FloatArray:
        """The network's output as views per day, within the training rows' bounds and never negative."""
        views = np.clip(np.asarray(target, dtype=np.float64), 0.0, 1.0) * (self.high - self.low) + self.low
        return np.maximum(views, 0.0)


Velocity = LogVelocity | MinMaxVelocity
