"""From the network's outputs to views per day, a probability and an interval. Imports no torch.

The regression target was transformed in training. A head that knows a video's views and age is surer than one
that knows its title only, so each pattern of known inputs has its own calibration of the probability and its
own interval of the velocity.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from model.values import Number

FloatArray = NDArray[np.float64]

# No video has more views a day; statistics beyond this were fitted on something else.
MAX_LOG_VIEWS = 50.0
MAX_VIEWS = 1e21
KNOWN = ("views", "reactions", "age", "history")
FLAG = "_known"
NOTHING = "none"
MAX_LOGIT = 700.0  # beyond this, exp overflows


@dataclass(frozen=True, slots=True)
class LogVelocity:
    """target = (log1p(views per day) - mean) / scale.

    `high` is the largest log1p(views per day) of the training rows. Predictions are clipped to it: beyond
    it, expm1 would turn a small error into billions of views.
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
        with np.errstate(over="ignore"):  # an overflow gives infinity, which is clipped like any excess
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


class Pattern(BaseModel):
    """The calibration of requests with the same known inputs, fitted on held-out rows.

    The probability is sigmoid((z + bias) / temperature) of the difference z of the two logits. The interval
    of the velocity reaches from `low` below the prediction to `high` above it, in log1p(views per day).
    """

    model_config = ConfigDict(frozen=True)

    temperature: Annotated[Number, Field(ge=0.01, le=100)]
    bias: Annotated[Number, Field(ge=-100, le=100)]
    low: Annotated[Number, Field(le=0, ge=-100)]
    high: Annotated[Number, Field(ge=0, le=100)]
    rows: Annotated[int, Field(ge=1)]

    def interval(self, velocity: float) -> tuple[float, float]:
        """The lower and the upper end around a predicted velocity, all in views per day."""
        log = math.log1p(velocity)
        return max(math.expm1(log + self.low), 0.0), math.expm1(log + self.high)


def name_of(known: Sequence[str]) -> str:
    """A pattern's name: its known groups in the order of `KNOWN`, joined by "+"; "none" without any."""
    return "+".join(group for group in KNOWN if group in known) or NOTHING


def groups_in(pattern: str) -> tuple[str, ...]:
    """The known groups of a pattern's name. Raises `ValueError` for any other name."""
    groups = () if pattern == NOTHING else tuple(pattern.split("+"))
    if name_of(groups) != pattern or not set(groups) <= set(KNOWN):
        raise ValueError(f"{pattern!r} is not a pattern, expected groups of {', '.join(KNOWN)} in this order")
    return groups


PATTERNS = tuple(
    name_of([group for group, known in zip(KNOWN, flags, strict=True) if known])
    for flags in product((False, True), repeat=len(KNOWN))
)
"""Every pattern: its index, in binary, has a digit for each group of `KNOWN`."""


def pattern_of(row: FloatArray, names: Sequence[str]) -> str:
    """The pattern of one row (F,) of unscaled features with these names; a missing flag counts as 0."""
    values = dict(zip(names, row.tolist(), strict=True))
    return name_of([group for group in KNOWN if values.get(group + FLAG, 0) > 0.5])


def fitted(pattern: str, patterns: Mapping[str, Pattern]) -> Pattern | None:
    """The calibration of `pattern`; None where nothing was fitted.

    Groups that no fitted pattern has are ignored: the head gives no weight to an input that training never
    had. So is a previous look at a video whose views are unknown.
    """
    seen = {group for name in patterns for group in groups_in(name)}
    known = [group for group in groups_in(pattern) if group in seen]
    if "views" not in known:
        known = [group for group in known if group != "history"]
    return patterns.get(name_of(known))


def complete(patterns: Mapping[str, Pattern]) -> Mapping[str, Pattern]:
    """`patterns`, if every request has one. Raises `ValueError`, naming a missing or unknown pattern."""
    missing = [name for name in PATTERNS if patterns and fitted(name, patterns) is None]
    for name in patterns:
        groups_in(name)
    if missing:
        raise ValueError(f"has no pattern for requests with {missing[0]}, expected all or none")
    return patterns


class Calibration:
    """Turns the difference of the two logits into a probability, by each row's known inputs."""

    def __init__(
        self,
        patterns: Mapping[str, Pattern],
        names: Sequence[str],
        stats: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """`patterns` are complete; `stats` has the mean and scale of each name."""
        found = [fitted(pattern, patterns) for pattern in PATTERNS]
        self._temperature = np.array([pattern.temperature for pattern in found if pattern])  # (16,)
        self._bias = np.array([pattern.bias for pattern in found if pattern])
        flags = [group + FLAG for group in KNOWN]
        self._columns = [names.index(flag) if flag in names else None for flag in flags]
        moments = [stats.get(flag, {}) for flag in flags]
        # Halfway between 0 and 1, standardised as the columns are.
        self._middle = [(0.5 - (each.get("mean") or 0)) / (each.get("scale") or 1) for each in moments]

    def apply(self, logits: FloatArray, scalars: NDArray[np.float32]) -> FloatArray:
        """(N,) differences of the logits and (N, F) standardised scalars to (N,) probabilities."""
        index = np.zeros(len(logits), dtype=np.int64)
        for column, middle in zip(self._columns, self._middle, strict=True):
            index *= 2
            if column is not None:
                index += scalars[:, column] > middle
        z = (logits.astype(np.float64) + self._bias[index]) / self._temperature[index]
        return np.asarray(1 / (1 + np.exp(-np.clip(z, -MAX_LOGIT, MAX_LOGIT))))
