"""Every named feature: formula, unit, range. A 19th feature goes here and nowhere else.

`compute_features` is the only way from videos to numbers: training calls it with a table, the service
with a table of one row, so the two cannot drift apart. What a video does not say (its age, when it
carries no publication time) is NaN here and becomes the training mean in `FeatureScaler.transform`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.video import Video

FloatArray = NDArray[np.float64]

SHORT_SECONDS = 60.0
# Age is known to the hour at best, so younger videos count as one hour old: views / 0.01 h means nothing.
MIN_RATE_HOURS = 1.0
LARGEST_LOG = float(np.log1p(np.finfo(np.float64).max))
LARGEST_TEXT = float("inf")

_DIGIT = re.compile(r"\d")
_QUESTION = re.compile(r"[?？]")
_EXCLAMATION = re.compile(r"[!！]")


class UnknownFeatureError(ValueError):
    """A checkpoint names a feature that this version does not define."""


@dataclass(frozen=True, slots=True)
class Columns:
    """N videos by column, each array (N,); `age_hours` is NaN where it is unknown."""

    title: list[str]
    description: list[str]
    views: FloatArray
    likes: FloatArray
    comments: FloatArray
    duration_seconds: FloatArray
    age_hours: FloatArray

    @classmethod
    def of(cls, videos: Sequence[Video]) -> "Columns":
        """The columns of `videos`, in their order."""
        return cls(
            title=[video.title for video in videos],
            description=[video.description for video in videos],
            views=np.array([video.view_count for video in videos], dtype=np.float64),
            likes=np.array([video.like_count for video in videos], dtype=np.float64),
            comments=np.array([video.comment_count for video in videos], dtype=np.float64),
            duration_seconds=np.array([video.duration_seconds for video in videos], dtype=np.float64),
            age_hours=np.array([video.age_hours for video in videos], dtype=np.float64),
        )


@dataclass(frozen=True, slots=True)
class Feature:
    """A named scalar: `compute` maps columns of N videos to (N,) values within [low, high], or NaN."""

    name: str
    formula: str
    unit: str
    low: float
    high: float
    compute: Callable[[Columns], FloatArray]


def _per_view(counts: FloatArray, views: FloatArray) -> FloatArray:
    """Counts per view in [0, 1]: 0 at zero views; a platform may report more likes than views."""
    rate = np.divide(counts, views, out=np.zeros_like(counts), where=views > 0)
    return np.clip(rate, 0.0, 1.0)


def _flags(texts: Sequence[str], pattern: re.Pattern[str]) -> FloatArray:
    return np.array([pattern.search(text) is not None for text in texts], dtype=np.float64)


def _word_counts(texts: Sequence[str]) -> FloatArray:
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


_FEATURES = (
    Feature("log_view_count", "log1p(view_count)", "log views", 0, LARGEST_LOG, lambda c: np.log1p(c.views)),
    Feature("log_like_count", "log1p(like_count)", "log likes", 0, LARGEST_LOG, lambda c: np.log1p(c.likes)),
    Feature(
        "log_comment_count",
        "log1p(comment_count)",
        "log comments",
        0,
        LARGEST_LOG,
        lambda c: np.log1p(c.comments),
    ),
    Feature(
        "log_duration_seconds",
        "log1p(duration_seconds)",
        "log seconds",
        0,
        LARGEST_LOG,
        lambda c: np.log1p(c.duration_seconds),
    ),
    Feature(
        "like_rate", "like_count / view_count", "likes per view", 0, 1, lambda c: _per_view(c.likes, c.views)
    ),
    Feature(
        "comment_rate",
        "comment_count / view_count",
        "comments per view",
        0,
        1,
        lambda c: _per_view(c.comments, c.views),
    ),
    Feature(
        "engagement_rate",
        "(like_count + comment_count) / view_count",
        "engagements per view",
        0,
        1,
        lambda c: _per_view(c.likes + c.comments, c.views),
    ),
    Feature(
        "log_age_hours",
        "log1p(observed_at - published_at)",
        "log hours",
        0,
        LARGEST_LOG,
        lambda c: np.log1p(c.age_hours),
    ),
    Feature(
        "log_views_per_hour",
        "log1p(view_count / max(age, 1 h))",
        "log views per hour",
        0,
        LARGEST_LOG,
        lambda c: np.log1p(c.views / np.maximum(c.age_hours, MIN_RATE_HOURS)),
    ),
    Feature(
        "age_known",
        "1 if published_at is given",
        "0 or 1",
        0,
        1,
        lambda c: np.isfinite(c.age_hours).astype(np.float64),
    ),
    Feature(
        "title_length",
        "characters in title",
        "characters",
        0,
        LARGEST_TEXT,
        lambda c: np.array([len(title) for title in c.title], dtype=np.float64),
    ),
    Feature(
        "title_word_count",
        "words in title, split at white space",
        "words",
        0,
        LARGEST_TEXT,
        lambda c: _word_counts(c.title),
    ),
    Feature(
        "description_word_count",
        "words in description, split at white space",
        "words",
        0,
        LARGEST_TEXT,
        lambda c: _word_counts(c.description),
    ),
    Feature(
        "is_short",
        "1 if duration_seconds <= 60",
        "0 or 1",
        0,
        1,
        lambda c: (c.duration_seconds <= SHORT_SECONDS).astype(np.float64),
    ),
    Feature(
        "has_description",
        "1 if description has a word",
        "0 or 1",
        0,
        1,
        lambda c: (_word_counts(c.description) > 0).astype(np.float64),
    ),
    Feature("has_numbers", "1 if title has a digit", "0 or 1", 0, 1, lambda c: _flags(c.title, _DIGIT)),
    Feature("has_question", "1 if title has ? or ？", "0 or 1", 0, 1, lambda c: _flags(c.title, _QUESTION)),
    Feature(
        "has_exclamation", "1 if title has ! or ！", "0 or 1", 0, 1, lambda c: _flags(c.title, _EXCLAMATION)
    ),
)

REGISTRY: dict[str, Feature] = {feature.name: feature for feature in _FEATURES}
MILES_V1: tuple[str, ...] = (
    "log_view_count",
    "log_like_count",
    "log_comment_count",
    "log_duration_seconds",
    "like_rate",
    "comment_rate",
    "engagement_rate",
    "log_age_hours",
    "log_views_per_hour",
    "age_known",
    "title_length",
    "title_word_count",
    "description_word_count",
    "is_short",
    "has_description",
    "has_numbers",
    "has_question",
    "has_exclamation",
)  # fmt: skip


def compute_features(videos: Sequence[Video], names: Sequence[str] = MILES_V1) -> FloatArray:
    """The named features of N videos as (N, len(names)) float64; NaN where a video does not say.

    Raises `UnknownFeatureError` for a name that the registry does not hold.
    """
    unknown = [name for name in names if name not in REGISTRY]
    if unknown:
        raise UnknownFeatureError(
            f"unknown features {', '.join(unknown)}; this version defines {', '.join(REGISTRY)}"
        )
    columns = Columns.of(videos)
    return np.stack([REGISTRY[name].compute(columns) for name in names], axis=1)
