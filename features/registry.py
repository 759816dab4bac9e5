"""Every named feature, each in one record. A 19th feature goes here and nowhere else.

`compute_features` is the only way from videos to numbers, in training and in the service, so the two cannot
drift apart. An unknown value is NaN here and becomes the training mean in
`FeatureScaler.transform`. Explanations, warnings, /model/info and the page read a feature's group and words
from its record.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.feature import (
    Describe,
    Feature,
    Group,
    age,
    count,
    from_log1p,
    length,
    per_hundred,
    percent,
)
from features.video import Columns, FloatArray, Video

Values = Callable[[Columns], FloatArray]
MAX_LOG = float(np.log1p(np.finfo(np.float64).max))
UNBOUNDED = float("inf")
SHORT_SECONDS = 60.0
# Times are known to the hour at best, so shorter times count as one hour: views / 0.01 h means nothing.
MIN_RATE_HOURS = 1.0
FRIDAY = 4

_DIGIT = re.compile(r"\d")
_QUESTION = re.compile(r"[?？]")
_EXCLAMATION = re.compile(r"[!！]")
# Pictographs, dingbats, miscellaneous symbols and the regional letters that flags are made of.
_EMOJI = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55]")


class UnknownFeatureError(ValueError):
    """A checkpoint names a feature that this version does not define."""


def log_of(
    name: str,
    of: str,
    unit: str,
    group: Group,
    values: Values,
    *,
    label: str = "",
    describe: Describe = count,
) -> Feature:
    """log1p of a quantity, which warns outside the middle 99% of the training rows."""
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


def number_of(
    name: str, of: str, unit: str, group: Group, values: Values, *, label: str = "", usual: bool = True
) -> Feature:
    """A quantity as it is."""
    label = label or of.replace("_", " ")
    return Feature(name, of, unit, 0, UNBOUNDED, values, group, label, count, usual)


def rate(name: str, of: str, unit: str, counts: Values, high: float = 1) -> Feature:
    """Counts per view, at most `high`: 0 at zero views; a platform may report more likes than views."""

    def compute(columns: Columns) -> FloatArray:
        values = np.where(np.isnan(columns.views), np.nan, counts(columns))
        per_view = np.divide(values, columns.views, out=np.zeros_like(values), where=columns.views > 0)
        return np.clip(np.where(np.isnan(values), np.nan, per_view), 0.0, high)

    formula, label = f"{of} / view_count", f"number of {unit} per 100 views"
    return Feature(name, formula, f"{unit} per view", 0, high, compute, Group.REACTION, label, per_hundred)


def flag(name: str, condition: str, group: Group, holds: Callable[[Columns], Any]) -> Feature:
    """1 or 0; NaN stays."""

    def compute(columns: Columns) -> FloatArray:
        return np.asarray(holds(columns), dtype=np.float64)

    return Feature(name, f"1 if {condition}", "0 or 1", 0, 1, compute, group, condition, describe=None)


def size_of(name: str, of: str, unit: str, group: Group, sizes: Callable[[Columns], list[int]]) -> Feature:
    """How many units a text has."""

    def compute(columns: Columns) -> FloatArray:
        return np.array(sizes(columns), dtype=np.float64)

    return Feature(name, f"{unit} in {of}", unit, 0, UNBOUNDED, compute, group, f"{of}'s number of {unit}")


def _words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def _matches(texts: Sequence[str], pattern: re.Pattern[str]) -> list[bool]:
    return [pattern.search(text) is not None for text in texts]


def _where_known(values: FloatArray, condition: NDArray[np.bool_]) -> FloatArray:
    """The condition as 1 and 0; NaN where the values are."""
    return np.where(np.isnan(values), np.nan, condition)


def _views_per_hour(columns: Columns) -> FloatArray:
    return np.log1p(columns.views / np.maximum(columns.age_hours, MIN_RATE_HOURS))


def _recent_views_per_hour(columns: Columns) -> FloatArray:
    gained = np.maximum(columns.views - columns.previous_views, 0)
    return np.log1p(gained / np.maximum(columns.hours_since_previous, MIN_RATE_HOURS))


_TITLE_LENGTH = size_of(
    "title_length", "title", "characters", Group.TITLE_FORM, lambda c: [len(title) for title in c.title]
)
_MILES_V1 = (
    log_of("log_view_count", "view_count", "views", Group.SIZE, lambda c: c.views),
    log_of("log_like_count", "like_count", "likes", Group.REACTION, lambda c: c.likes),
    log_of("log_comment_count", "comment_count", "comments", Group.REACTION, lambda c: c.comments),
    log_of(
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
    rate("like_rate", "like_count", "likes", lambda c: c.likes),
    rate("comment_rate", "comment_count", "comments", lambda c: c.comments),
    rate("engagement_rate", "(like_count + comment_count)", "engagements", lambda c: c.likes + c.comments),
    log_of(
        *("log_age_hours", "observed_at - published_at", "hours", Group.AGE, lambda c: c.age_hours),
        label="video's age",
        describe=age,
    ),
    Feature(
        *(
            "log_views_per_hour",
            "log1p(view_count / max(observed_at - published_at, 1 h))",
            "log views per hour",
            0,
            MAX_LOG,
        ),
        *(_views_per_hour, Group.AGE, "number of views per hour", from_log1p(count)),
        also="counts",
    ),
    flag("age_known", "published_at is given", Group.AGE, lambda c: np.isfinite(c.age_hours)),
    _TITLE_LENGTH,
    size_of("title_word_count", "title", "words", Group.TITLE_FORM, lambda c: _words(c.title)),
    size_of(
        "description_word_count",
        "description",
        "words",
        Group.DESCRIPTION_FORM,
        lambda c: _words(c.description),
    ),
    flag(
        *("is_short", f"duration_seconds <= {SHORT_SECONDS:g}", Group.DURATION),
        lambda c: _where_known(c.duration_seconds, c.duration_seconds <= SHORT_SECONDS),
    ),
    flag(
        *("has_description", "description has a word", Group.DESCRIPTION_FORM),
        lambda c: [count > 0 for count in _words(c.description)],
    ),
    flag("has_numbers", "title has a digit", Group.TITLE_FORM, lambda c: _matches(c.title, _DIGIT)),
    flag("has_question", "title has ? or ？", Group.TITLE_FORM, lambda c: _matches(c.title, _QUESTION)),
    flag("has_exclamation", "title has ! or ！", Group.TITLE_FORM, lambda c: _matches(c.title, _EXCLAMATION)),
)
# The features that miles-v2 adds to those of miles-v1, and those that only some of its files have.
_SINCE_V2 = (
    Feature(
        "log_recent_views_per_hour",
        "log1p(max(view_count - previous_view_count, 0) / max(observed_at - previous_observed_at, 1 h))",
        *("log views per hour", 0, MAX_LOG, _recent_views_per_hour, Group.HISTORY),
        *("number of views per hour since the previous look", from_log1p(count)),
        also="counts",
    ),
    flag("views_known", "view_count is known", Group.SIZE, lambda c: np.isfinite(c.views)),
    flag(
        *("reactions_known", "like_count and comment_count are known", Group.REACTION),
        lambda c: np.isfinite(c.likes + c.comments),
    ),
    flag(
        "history_known",
        "view_count, previous_view_count and previous_observed_at are known",
        Group.HISTORY,
        lambda c: np.isfinite(c.views + c.previous_views + c.hours_since_previous),
    ),
    log_of("log_share_count", "share_count", "shares", Group.REACTION, lambda c: c.shares),
    flag("shares_known", "share_count is known", Group.REACTION, lambda c: np.isfinite(c.shares)),
    log_of("log_save_count", "save_count", "saves", Group.REACTION, lambda c: c.saves),
    flag("saves_known", "save_count is known", Group.REACTION, lambda c: np.isfinite(c.saves)),
    flag(
        *("watching_known", "completion_rate is known", Group.WATCHING),
        lambda c: np.isfinite(c.completion_rate),
    ),
    log_of(
        *("log_creator_avg_views", "creator_avg_views", "views", Group.CREATOR),
        lambda c: c.creator_avg_views,
        label="creator's average view count",
    ),
    flag(
        *("creator_known", "creator_avg_views is known", Group.CREATOR),
        lambda c: np.isfinite(c.creator_avg_views),
    ),
)
_MILES_V0 = (
    number_of("views", "view_count", "views", Group.SIZE, lambda c: c.views),
    number_of("likes", "like_count", "likes", Group.REACTION, lambda c: c.likes),
    number_of("comments", "comment_count", "comments", Group.REACTION, lambda c: c.comments),
    number_of("shares", "share_count", "shares", Group.REACTION, lambda c: c.shares),
    number_of("saves", "save_count", "saves", Group.REACTION, lambda c: c.saves),
    rate(
        *("engagement_rate", "(like_count + comment_count + share_count + save_count)", "engagements"),
        lambda c: c.likes + c.comments + c.shares + c.saves,
        UNBOUNDED,
    ),
    Feature(
        *("completion_rate", "completion_rate", "0 to 1", 0, 1, lambda c: c.completion_rate),
        *(Group.WATCHING, "share of the video watched", percent),
    ),
    # Their training did not limit these rates to 1.
    rate("like_rate", "like_count", "likes", lambda c: c.likes, UNBOUNDED),
    rate("comment_ratio", "comment_count", "comments", lambda c: c.comments, UNBOUNDED),
    rate("share_rate", "share_count", "shares", lambda c: c.shares, UNBOUNDED),
    rate("save_rate", "save_count", "saves", lambda c: c.saves, UNBOUNDED),
    Feature(
        *("upload_hour", "hour of published_at, UTC", "hour", 0, 23, lambda c: c.upload_hour),
        *(Group.SCHEDULE, "hour of publication", None),
    ),
    flag(
        *("is_weekend", "published_at is a Friday, Saturday or Sunday, UTC", Group.SCHEDULE),
        lambda c: _where_known(c.weekday, c.weekday >= FRIDAY),
    ),
    Feature(
        *("duration_sec", "duration_seconds", "seconds", 0, UNBOUNDED, lambda c: c.duration_seconds),
        *(Group.DURATION, "video's length", length, True),
    ),
    _TITLE_LENGTH,
    flag("has_emoji", "title has an emoji", Group.TITLE_FORM, lambda c: _matches(c.title, _EMOJI)),
    number_of(
        *("creator_avg_views", "creator_avg_views", "views", Group.CREATOR),
        lambda c: c.creator_avg_views,
        label="creator's average view count",
    ),
    Feature(
        *("publish_dayofweek", "weekday of published_at, UTC, coded as in training", "day", 0, 6),
        lambda c: c.weekday,
        *(Group.SCHEDULE, "weekday of publication", None),
    ),
)

MILES_V1: tuple[str, ...] = tuple(feature.name for feature in _MILES_V1)
MILES_V2: tuple[str, ...] = (
    *("log_view_count", "log_like_count", "log_comment_count", "log_duration_seconds"),
    *("like_rate", "comment_rate", "log_age_hours", "log_views_per_hour", "log_recent_views_per_hour"),
    *("views_known", "reactions_known", "age_known", "history_known"),
    *("title_length", "title_word_count", "description_word_count", "is_short", "has_numbers"),
)
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "shares": ("log_share_count", "share_rate", "shares_known"),
    "saves": ("log_save_count", "save_rate", "saves_known"),
    "watching": ("completion_rate", "watching_known"),
    "creator": ("log_creator_avg_views", "creator_known"),
}
"""What a head reads in addition to `MILES_V2` where its training data has these values."""
# The list of the first trained file, which reads only the title.
MILES_V0: tuple[str, ...] = tuple(feature.name for feature in _MILES_V0)
_FIRST: dict[str, Feature] = {feature.name: feature for feature in _MILES_V0}
# `like_rate` and `engagement_rate` are in both lists with different formulas; by default they are miles-v1's.
REGISTRY: dict[str, Feature] = _FIRST | {feature.name: feature for feature in (*_MILES_V1, *_SINCE_V2)}


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


def compute_features(videos: Sequence[Video], names: Sequence[str]) -> FloatArray:
    """The named features of N videos as (N, len(names)) float64; NaN where a value is unknown.

    Raises `UnknownFeatureError` for a name that the registry does not hold.
    """
    features = features_named(names)
    columns = Columns.of(videos)
    return np.stack([feature.compute(columns) for feature in features], axis=1)
