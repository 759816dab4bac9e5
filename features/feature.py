"""What a feature is, and how a value is worded: 1,000 views, not 6.9."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import Enum

from features.video import Columns, FloatArray, Video

Describe = Callable[[float], str]
DAY, YEAR = 24.0, 24 * 365.25  # hours
MINUTE, HOUR = 60.0, 3600.0  # seconds
LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
MAX_EXPONENT = 700.0  # no request can hold what overflows
VIDEO_FIELDS = tuple(each.name for each in fields(Video))


def count(value: float) -> str:
    """1,000; 23.5 million; 3.2e+18."""
    if value >= LARGE[0][0] * 1000:
        return f"{value:.2g}"
    for size, name in LARGE:
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def age(hours: float) -> str:
    """Hours up to three days, days up to two years, then years."""
    if hours < 3 * DAY:
        return f"{count(hours)} hours"
    return f"{hours / DAY:.0f} days" if hours < 2 * YEAR else f"{count(round(hours / YEAR, 1))} years"


def length(seconds: float) -> str:
    """Seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds < 2 * MINUTE:
        return f"{count(seconds)} seconds"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} minutes"
    return f"{count(round(seconds / HOUR, 1))} hours"


def per_hundred(share: float) -> str:
    """0.08 as 8."""
    return count(share * 100)


def percent(share: float) -> str:
    """0.08 as 8%."""
    return f"{share * 100:.3g}%"


def from_log1p(describe: Describe) -> Describe:
    """Describes log1p(x) as x."""
    return lambda value: describe(math.expm1(min(value, MAX_EXPONENT)))


class Group(Enum):
    """Features that share one part of an explanation because a person would change them together.

    A group's value is its name in an answer. Out-of-range warnings mention each topic once.
    """

    SIZE = "size", "Views so far", "counts"
    REACTION = "reaction", "Likes, comments and shares", "counts"
    # With views per hour, although they depend on the views too: given the views, the age is what they add.
    AGE = "age", "When it was published", "age"
    HISTORY = "history", "Views since the previous look", "history"
    SCHEDULE = "schedule", "Weekday and hour", "schedule"
    DURATION = "duration", "Length of the video", "duration"
    WATCHING = "watching", "How much of it is watched", "watching"
    CREATOR = "creator", "The creator's other videos", "creator"
    TITLE_FORM = "title_form", "Form of the title", "title"
    DESCRIPTION_FORM = "description_form", "Form of the description", "description"

    def __new__(cls, value: str, label: str, topic: str) -> "Group":
        """A member with its label and topic."""
        member = object.__new__(cls)
        member._value_ = value
        member.label, member.topic = label, topic
        return member

    label: str
    topic: str


@dataclass(frozen=True, slots=True)
class Feature:
    """A named scalar: `compute` maps columns of N videos to (N,) values within [low, high], or NaN.

    `label` names it in warnings and on the page; `describe` words a value; None if none merits a warning.
    `usual` warns outside the middle 99% of the training rows; the others warn outside all of them, because
    otherwise one row in ten would be unusual.
    """

    name: str
    formula: str
    unit: str
    low: float
    high: float
    compute: Callable[[Columns], FloatArray]
    group: Group
    label: str
    describe: Describe | None = count
    usual: bool = False
    also: str | None = None
    """A second topic of warnings, in addition to the group's."""
    reads: tuple[str, ...] = field(init=False)
    """The fields of a video that the formula names."""

    def __post_init__(self) -> None:
        words = re.findall(r"\w+", self.formula)
        object.__setattr__(self, "reads", tuple(name for name in VIDEO_FIELDS if name in words))

    @property
    def topics(self) -> set[str]:
        """What a warning about this feature is about."""
        return {self.group.topic} | ({self.also} if self.also else set())
