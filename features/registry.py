"""Every named feature, each in one record. A 19th feature goes here and nowhere else.

`compute_features` is the only way from videos to numbers, in training and in the service, so the two cannot
drift apart. A value that a video does not give (its age, without a publication time) is NaN here and becomes
the training mean in `FeatureScaler.transform`. Explanations, warnings, /model/info and the page read a
feature's group and words from its record.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.video import Video
from features.wording import Describe, age, count, from_log1p, length, per_hundred, percent

FloatArray = NDArray[np.float64]
SECONDS_PER_HOUR = 3600.0
SHORT_SECONDS = 60.0
# Age is known to the hour at best, so younger videos count as one hour old: views / 0.01 h means nothing.
MIN_RATE_HOURS = 1.0
FRIDAY = 4
MAX_LOG = float(np.log1p(np.finfo(np.float64).max))
UNBOUNDED = float("inf")

_DIGIT = re.compile(r"\d")
_QUESTION = re.compile(r"[?？]")
_EXCLAMATION = re.compile(r"[!！]")
# Pictographs, dingbats, miscellaneous symbols and the regional letters that flags are made of.
_EMOJI = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55]")


class UnknownFeatureError(ValueError):
    """A checkpoint names a feature that this version does not define."""


class Group(Enum):
    """Features that share one part of an explanation because a person would change them together.

    A group's value is its name in an answer. Out-of-range warnings mention each topic once.
    """

    SIZE = "size", "Views so far", "counts"
    REACTION = "reaction", "Likes, comments and shares", "counts"
    # With views per hour, although they depend on the views too: given the views, the age is what they add.
    AGE = "age", "When it was published", "age"
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
class Columns:
    """N videos by column, each array (N,); NaN where a video gives no value."""

    title: list[str]
    description: list[str]
    views: FloatArray
    likes: FloatArray
    comments: FloatArray
    shares: FloatArray
    saves: FloatArray
    duration_seconds: FloatArray
    age_hours: FloatArray
    published_hours: FloatArray
    completion_rate: FloatArray
    creator_avg_views: FloatArray

    @classmethod
    def of(cls, videos: Sequence[Video]) -> "Columns":
        """The columns of `videos`, in their order."""

        def column(values: Iterable[float | None]) -> FloatArray:
            return np.array(list(values), dtype=np.float64)  # None becomes NaN

        return cls(
            title=[video.title for video in videos],
            description=[video.description for video in videos],
            views=column(video.view_count for video in videos),
            likes=column(video.like_count for video in videos),
            comments=column(video.comment_count for video in videos),
            shares=column(video.share_count for video in videos),
            saves=column(video.save_count for video in videos),
            duration_seconds=column(video.duration_seconds for video in videos),
            age_hours=column(map(age_hours, videos)),
            published_hours=column(map(published_hours, videos)),
            completion_rate=column(video.completion_rate for video in videos),
            creator_avg_views=column(video.creator_avg_views for video in videos),
        )


@dataclass(frozen=True, slots=True)
class Feature:
    """A named scalar: `compute` maps columns of N videos to (N,) values within [low, high], or NaN.

    `label` names it in warnings and on the page; `describe` words a value, None if none is worth a warning.
    `usual` warns outside the middle 99% of the training rows; the others warn outside all of them, because
    with every feature included one row in ten would be unusual.
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
    """A second topic of warnings, besides the group's."""

    @property
    def topics(self) -> set[str]:
        """What a warning about this feature is about."""
        return {self.group.topic} | ({self.also} if self.also else set())


Values = Callable[[Columns], FloatArray]


def age_hours(video: Video) -> float | None:
    """Hours from publication to observation, never negative; None when either time is unknown."""
    if video.published_at is None or video.observed_at is None:
        return None
    return max((video.observed_at - video.published_at).total_seconds(), 0.0) / SECONDS_PER_HOUR


def published_hours(video: Video) -> int | None:
    """Whole hours from midnight UTC of Monday, 1 January of year 1, to publication; None when unknown.

    Computed by hand: `astimezone(UTC)` overflows for the first and last day that a datetime can name.
    """
    if video.published_at is None:
        return None
    offset = video.published_at.utcoffset()
    assert offset is not None, "validated times carry a zone"
    local = video.published_at.replace(tzinfo=None) - datetime.min
    return (local - offset) // timedelta(hours=1)


def _log(
    name: str,
    of: str,
    unit: str,
    group: Group,
    values: Values,
    *,
    label: str = "",
    describe: Describe = count,
) -> Feature:
    label = label or of.replace("_", " ")
    formula, words = f"log1p({of})", from_log1p(describe)
    return Feature(
        name,
        formula,
        f"log {unit}",
        0,
        MAX_LOG,
        lambda c: np.log1p(values(c)),
        group,
        label,
        words,
        usual=True,
    )


def _count(
    name: str, of: str, unit: str, group: Group, values: Values, *, label: str = "", usual: bool = True
) -> Feature:
    label = label or of.replace("_", " ")
    return Feature(name, of, unit, 0, UNBOUNDED, values, group, label, count, usual)


def _rate(name: str, of: str, unit: str, counts: Values, high: float = 1) -> Feature:
    """Counts per view: 0 at zero views; above 1 where a platform reports more likes than views."""

    def compute(columns: Columns) -> FloatArray:
        values = counts(columns)
        rate = np.divide(values, columns.views, out=np.zeros_like(values), where=columns.views > 0)
        return np.clip(np.where(np.isnan(values), np.nan, rate), 0.0, high)

    formula, label = f"{of} / view_count", f"number of {unit} per 100 views"
    return Feature(name, formula, f"{unit} per view", 0, high, compute, Group.REACTION, label, per_hundred)


def _flag(name: str, condition: str, group: Group, holds: Callable[[Columns], Any]) -> Feature:
    """1 or 0; NaN stays."""

    def compute(columns: Columns) -> FloatArray:
        return np.asarray(holds(columns), dtype=np.float64)

    return Feature(name, f"1 if {condition}", "0 or 1", 0, 1, compute, group, condition, describe=None)


def _size(name: str, of: str, unit: str, group: Group, sizes: Callable[[Columns], list[int]]) -> Feature:
    def compute(columns: Columns) -> FloatArray:
        return np.array(sizes(columns), dtype=np.float64)

    return Feature(name, f"{unit} in {of}", unit, 0, UNBOUNDED, compute, group, f"{of}'s number of {unit}")


def _words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def _matches(texts: Sequence[str], pattern: re.Pattern[str]) -> list[bool]:
    return [pattern.search(text) is not None for text in texts]


def _weekday(columns: Columns) -> FloatArray:
    """Monday 0 to Sunday 6, in UTC; the hours are counted from a Monday."""
    return np.floor(columns.published_hours / 24) % 7


def _is_weekend(columns: Columns) -> FloatArray:
    day = _weekday(columns)
    return np.where(np.isnan(day), np.nan, day >= FRIDAY)


def _views_per_hour(columns: Columns) -> FloatArray:
    return np.log1p(columns.views / np.maximum(columns.age_hours, MIN_RATE_HOURS))


_TITLE_LENGTH = _size(
    "title_length", "title", "characters", Group.TITLE_FORM, lambda c: [len(title) for title in c.title]
)
_MILES_V1 = (
    _log("log_view_count", "view_count", "views", Group.SIZE, lambda c: c.views),
    _log("log_like_count", "like_count", "likes", Group.REACTION, lambda c: c.likes),
    _log("log_comment_count", "comment_count", "comments", Group.REACTION, lambda c: c.comments),
    _log(
        *(
            "log_duration_seconds",
            "duration_seconds",
            "seconds",
            Group.DURATION,
            lambda c: c.duration_seconds,
        ),
        label="video's length",
        describe=length,
    ),
    _rate("like_rate", "like_count", "likes", lambda c: c.likes),
    _rate("comment_rate", "comment_count", "comments", lambda c: c.comments),
    _rate("engagement_rate", "(like_count + comment_count)", "engagements", lambda c: c.likes + c.comments),
    _log(
        *("log_age_hours", "observed_at - published_at", "hours", Group.AGE, lambda c: c.age_hours),
        label="video's age",
        describe=age,
    ),
    Feature(
        *("log_views_per_hour", "log1p(view_count / max(age, 1 h))", "log views per hour", 0, MAX_LOG),
        *(_views_per_hour, Group.AGE, "number of views per hour", from_log1p(count)),
        also="counts",
    ),
    _flag("age_known", "published_at is given", Group.AGE, lambda c: np.isfinite(c.age_hours)),
    _TITLE_LENGTH,
    _size("title_word_count", "title", "words", Group.TITLE_FORM, lambda c: _words(c.title)),
    _size(
        "description_word_count",
        "description",
        "words",
        Group.DESCRIPTION_FORM,
        lambda c: _words(c.description),
    ),
    _flag(
        *("is_short", f"duration_seconds <= {SHORT_SECONDS:g}", Group.DURATION),
        lambda c: c.duration_seconds <= SHORT_SECONDS,
    ),
    _flag(
        *("has_description", "description has a word", Group.DESCRIPTION_FORM),
        lambda c: [count > 0 for count in _words(c.description)],
    ),
    _flag("has_numbers", "title has a digit", Group.TITLE_FORM, lambda c: _matches(c.title, _DIGIT)),
    _flag("has_question", "title has ? or ？", Group.TITLE_FORM, lambda c: _matches(c.title, _QUESTION)),
    _flag(
        "has_exclamation", "title has ! or ！", Group.TITLE_FORM, lambda c: _matches(c.title, _EXCLAMATION)
    ),
)
_MILES_V0 = (
    _count("views", "view_count", "views", Group.SIZE, lambda c: c.views),
    _count("likes", "like_count", "likes", Group.REACTION, lambda c: c.likes),
    _count("comments", "comment_count", "comments", Group.REACTION, lambda c: c.comments),
    _count("shares", "share_count", "shares", Group.REACTION, lambda c: c.shares),
    _count("saves", "save_count", "saves", Group.REACTION, lambda c: c.saves),
    _rate(
        *("engagement_rate", "(like_count + comment_count + share_count + save_count)", "engagements"),
        lambda c: c.likes + c.comments + c.shares + c.saves,
        UNBOUNDED,
    ),
    Feature(
        *("completion_rate", "share of the video watched", "0 to 1", 0, 1, lambda c: c.completion_rate),
        *(Group.WATCHING, "share of the video watched", percent),
    ),
    # Their training did not limit these rates to 1.
    _rate("like_rate", "like_count", "likes", lambda c: c.likes, UNBOUNDED),
    _rate("comment_ratio", "comment_count", "comments", lambda c: c.comments, UNBOUNDED),
    _rate("share_rate", "share_count", "shares", lambda c: c.shares, UNBOUNDED),
    _rate("save_rate", "save_count", "saves", lambda c: c.saves, UNBOUNDED),
    Feature(
        *("upload_hour", "hour of published_at, UTC", "hour", 0, 23, lambda c: c.published_hours % 24),
        *(Group.SCHEDULE, "hour of publication", None),
    ),
    _flag("is_weekend", "published on Friday, Saturday or Sunday, UTC", Group.SCHEDULE, _is_weekend),
    Feature(
        *("duration_sec", "duration_seconds", "seconds", 0, UNBOUNDED, lambda c: c.duration_seconds),
        *(Group.DURATION, "video's length", length, True),
    ),
    _TITLE_LENGTH,
    _flag("has_emoji", "title has an emoji", Group.TITLE_FORM, lambda c: _matches(c.title, _EMOJI)),
    _count(
        *("creator_avg_views", "views of the creator's average video", "views", Group.CREATOR),
        lambda c: c.creator_avg_views,
        label="creator's average view count",
    ),
    Feature(
        *("publish_dayofweek", "weekday of published_at, UTC, Monday 0", "day", 0, 6, _weekday),
        *(Group.SCHEDULE, "weekday of publication", None),
    ),
)

MILES_V1: tuple[str, ...] = tuple(feature.name for feature in _MILES_V1)
# The list of the first trained file, which reads only the title.
MILES_V0: tuple[str, ...] = tuple(feature.name for feature in _MILES_V0)
_FIRST: dict[str, Feature] = {feature.name: feature for feature in _MILES_V0}
# `like_rate` and `engagement_rate` are in both lists with different formulas; by default they are miles-v1's.
REGISTRY: dict[str, Feature] = _FIRST | {feature.name: feature for feature in _MILES_V1}


def features_named(names: Sequence[str]) -> list[Feature]:
    """The features that a checkpoint's names stand for; `shares` identifies a checkpoint of the first list.

    Raises `UnknownFeatureError` for a name that the registry does not hold.
    """
    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        raise UnknownFeatureError(
            f"unknown features {', '.join(unknown)}; this version defines {', '.join(REGISTRY)}"
        )
    meanings = REGISTRY | _FIRST if "shares" in names else REGISTRY
    return [meanings[name] for name in names]


def groups_of(names: Sequence[str]) -> list[tuple[Group, list[int]]]:
    """The groups of a list of features, in `Group`'s order, each with its columns; every column is in one.

    Raises `UnknownFeatureError` for a name that the registry does not hold.
    """
    features = features_named(names)
    columns = {group: [i for i, feature in enumerate(features) if feature.group is group] for group in Group}
    return [(group, indices) for group, indices in columns.items() if indices]


def compute_features(videos: Sequence[Video], names: Sequence[str] = MILES_V1) -> FloatArray:
    """The named features of N videos as (N, len(names)) float64; NaN where a video gives no value.

    Raises `UnknownFeatureError` for a name that the registry does not hold.
    """
    features = features_named(names)
    columns = Columns.of(videos)
    return np.stack([feature.compute(columns) for feature in features], axis=1)
