"""Every named feature: formula, unit, range. A 19th feature goes here and nowhere else.

`compute_features` is the only way from videos to numbers: training calls it with a table, the service
with a table of one row, so the two cannot drift apart. What a video does not say (its age, when it
carries no publication time) is NaN here and becomes the training mean in `FeatureScaler.transform`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from features.columns import Columns, FloatArray, lengths, matches, per_view, word_counts
from features.video import Video

SHORT_SECONDS = 60.0
# Age is known to the hour at best, so younger videos count as one hour old: views / 0.01 h means nothing.
MIN_RATE_HOURS = 1.0
FRIDAY = 4
LARGEST_LOG = float(np.log1p(np.finfo(np.float64).max))
UNBOUNDED = float("inf")

_DIGIT = re.compile(r"\d")
_QUESTION = re.compile(r"[?？]")
_EXCLAMATION = re.compile(r"[!！]")
# Pictographs, dingbats, miscellaneous symbols and the regional letters that flags are made of.
_EMOJI = re.compile("[\U0001f1e6-\U0001f1ff\U0001f300-\U0001faff\u2600-\u27bf\u2b50\u2b55]")


class UnknownFeatureError(ValueError):
    """A checkpoint names a feature that this version does not define."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A named scalar: `compute` maps columns of N videos to (N,) values within [low, high], or NaN."""

    name: str
    formula: str
    unit: str
    low: float
    high: float
    compute: Callable[[Columns], FloatArray]


def _log(name: str, of: str, unit: str, values: Callable[[Columns], FloatArray]) -> Feature:
    return Feature(name, f"log1p({of})", f"log {unit}", 0, LARGEST_LOG, lambda c: np.log1p(values(c)))


def _count(name: str, formula: str, unit: str, values: Callable[[Columns], FloatArray]) -> Feature:
    return Feature(name, formula, unit, 0, UNBOUNDED, values)


def _rate(name: str, of: str, unit: str, counts: Callable[[Columns], FloatArray]) -> Feature:
    def compute(columns: Columns) -> FloatArray:
        return np.clip(per_view(counts(columns), columns.views), 0.0, 1.0)

    return Feature(name, f"{of} / view_count", f"{unit} per view", 0, 1, compute)


def _ratio(name: str, of: str, unit: str, counts: Callable[[Columns], FloatArray]) -> Feature:
    """A rate of the first list, whose training did not stop it at 1."""
    return Feature(
        name, f"{of} / view_count", f"{unit} per view", 0, UNBOUNDED, lambda c: per_view(counts(c), c.views)
    )


def _flag(name: str, condition: str, holds: Callable[[Columns], FloatArray]) -> Feature:
    return Feature(name, f"1 if {condition}", "0 or 1", 0, 1, holds)


def _weekday(columns: Columns) -> FloatArray:
    """Monday 0 to Sunday 6, in UTC; the hours are counted from a Monday."""
    return np.floor(columns.published_hours / 24) % 7


def _is_weekend(columns: Columns) -> FloatArray:
    day = _weekday(columns)
    return np.where(np.isnan(day), np.nan, day >= FRIDAY)


_MILES_V1 = (
    _log("log_view_count", "view_count", "views", lambda c: c.views),
    _log("log_like_count", "like_count", "likes", lambda c: c.likes),
    _log("log_comment_count", "comment_count", "comments", lambda c: c.comments),
    _log("log_duration_seconds", "duration_seconds", "seconds", lambda c: c.duration_seconds),
    _rate("like_rate", "like_count", "likes", lambda c: c.likes),
    _rate("comment_rate", "comment_count", "comments", lambda c: c.comments),
    _rate("engagement_rate", "(like_count + comment_count)", "engagements", lambda c: c.likes + c.comments),
    _log("log_age_hours", "observed_at - published_at", "hours", lambda c: c.age_hours),
    _log(
        "log_views_per_hour",
        "view_count / max(age, 1 h)",
        "views per hour",
        lambda c: c.views / np.maximum(c.age_hours, MIN_RATE_HOURS),
    ),
    _flag("age_known", "published_at is given", lambda c: np.isfinite(c.age_hours).astype(np.float64)),
    _count("title_length", "characters in title", "characters", lambda c: lengths(c.title)),
    _count("title_word_count", "words in title", "words", lambda c: word_counts(c.title)),
    _count("description_word_count", "words in description", "words", lambda c: word_counts(c.description)),
    _flag(
        "is_short",
        f"duration_seconds <= {SHORT_SECONDS:g}",
        lambda c: (c.duration_seconds <= SHORT_SECONDS).astype(np.float64),
    ),
    _flag(
        "has_description",
        "description has a word",
        lambda c: (word_counts(c.description) > 0).astype(np.float64),
    ),
    _flag("has_numbers", "title has a digit", lambda c: matches(c.title, _DIGIT)),
    _flag("has_question", "title has ? or ？", lambda c: matches(c.title, _QUESTION)),
    _flag("has_exclamation", "title has ! or ！", lambda c: matches(c.title, _EXCLAMATION)),
)
_MILES_V0 = (
    _count("views", "view_count", "views", lambda c: c.views),
    _count("likes", "like_count", "likes", lambda c: c.likes),
    _count("comments", "comment_count", "comments", lambda c: c.comments),
    _count("shares", "share_count", "shares", lambda c: c.shares),
    _count("saves", "save_count", "saves", lambda c: c.saves),
    _ratio(
        "engagement_rate",
        "(like_count + comment_count + share_count + save_count)",
        "engagements",
        lambda c: c.likes + c.comments + c.shares + c.saves,
    ),
    Feature("completion_rate", "share of the video watched", "0 to 1", 0, 1, lambda c: c.completion_rate),
    _ratio("like_rate", "like_count", "likes", lambda c: c.likes),
    _ratio("comment_ratio", "comment_count", "comments", lambda c: c.comments),
    _ratio("share_rate", "share_count", "shares", lambda c: c.shares),
    _ratio("save_rate", "save_count", "saves", lambda c: c.saves),
    Feature("upload_hour", "hour of published_at, UTC", "hour", 0, 23, lambda c: c.published_hours % 24),
    _flag("is_weekend", "published on Friday, Saturday or Sunday, UTC", _is_weekend),
    _count("duration_sec", "duration_seconds", "seconds", lambda c: c.duration_seconds),
    _count("title_length", "characters in title", "characters", lambda c: lengths(c.title)),
    _flag("has_emoji", "title has an emoji", lambda c: matches(c.title, _EMOJI)),
    _count(
        "creator_avg_views", "views of the creator's average video", "views", lambda c: c.creator_avg_views
    ),
    Feature("publish_dayofweek", "weekday of published_at, UTC, Monday 0", "day", 0, 6, _weekday),
)

MILES_V1: tuple[str, ...] = tuple(feature.name for feature in _MILES_V1)
# The list of the first trained file, which reads the title alone.
MILES_V0: tuple[str, ...] = tuple(feature.name for feature in _MILES_V0)
_FIRST: dict[str, Feature] = {feature.name: feature for feature in _MILES_V0}
# `engagement_rate` means two things; by itself the name is the later one's.
REGISTRY: dict[str, Feature] = _FIRST | {feature.name: feature for feature in _MILES_V1}


def features_named(names: Sequence[str]) -> list[Feature]:
    """The features that a checkpoint's names stand for; a checkpoint of the first list is told by `shares`.

    Raises `UnknownFeatureError` for a name that the registry does not hold.
    """
    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        raise UnknownFeatureError(
            f"unknown features {', '.join(unknown)}; this version defines {', '.join(REGISTRY)}"
        )
    meanings = REGISTRY | _FIRST if "shares" in names else REGISTRY
    return [meanings[name] for name in names]


def compute_features(videos: Sequence[Video], names: Sequence[str] = MILES_V1) -> FloatArray:
    """The named features of N videos as (N, len(names)) float64; NaN where a video does not say.

    Raises `UnknownFeatureError` for a name that the registry does not hold.
    """
    features = features_named(names)
    columns = Columns.of(videos)
    return np.stack([feature.compute(columns) for feature in features], axis=1)
