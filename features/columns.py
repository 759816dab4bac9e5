"""Videos by column: what the formulas in `features.registry` compute on."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.video import Video

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Columns:
    """N videos by column, each array (N,); NaN where a video does not say."""

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

        def column(value: Callable[[Video], float | None]) -> FloatArray:
            return np.array([value(video) for video in videos], dtype=np.float64)  # None becomes NaN

        return cls(
            title=[video.title for video in videos],
            description=[video.description for video in videos],
            views=column(lambda video: video.view_count),
            likes=column(lambda video: video.like_count),
            comments=column(lambda video: video.comment_count),
            shares=column(lambda video: video.share_count),
            saves=column(lambda video: video.save_count),
            duration_seconds=column(lambda video: video.duration_seconds),
            age_hours=column(lambda video: video.age_hours),
            published_hours=column(lambda video: video.published_hours),
            completion_rate=column(lambda video: video.completion_rate),
            creator_avg_views=column(lambda video: video.creator_avg_views),
        )


def per_view(counts: FloatArray, views: FloatArray) -> FloatArray:
    """Counts per view: 0 at zero views; above 1 where a platform reports more likes than views."""
    rate = np.divide(counts, views, out=np.zeros_like(counts), where=views > 0)
    return np.where(np.isnan(counts), np.nan, rate)


def lengths(texts: Sequence[str]) -> FloatArray:
    """Characters of each text."""
    return np.array([len(text) for text in texts], dtype=np.float64)


def word_counts(texts: Sequence[str]) -> FloatArray:
    """Words of each text, split at white space."""
    return np.array([len(text.split()) for text in texts], dtype=np.float64)


def matches(texts: Sequence[str], pattern: re.Pattern[str]) -> FloatArray:
    """1 for each text that `pattern` is found in, 0 for the others."""
    return np.array([pattern.search(text) is not None for text in texts], dtype=np.float64)
