"""The raw columns of N videos, which every feature's formula reads."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from features.video import Video

FloatArray = NDArray[np.float64]
SECONDS_PER_HOUR = 3600.0
# An age that is known to the day says nothing about a video this young.
MIN_DAY_AGE_HOURS = 48.0


@dataclass(frozen=True, slots=True)
class Columns:
    """N videos by column, each array (N,); NaN where a value is unknown."""

    title: list[str]
    description: list[str]
    views: FloatArray
    likes: FloatArray
    comments: FloatArray
    shares: FloatArray
    saves: FloatArray
    duration_seconds: FloatArray
    age_hours: FloatArray
    upload_hour: FloatArray
    weekday: FloatArray
    previous_views: FloatArray
    hours_since_previous: FloatArray
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
            upload_hour=column(map(upload_hour, videos)),
            weekday=column(map(weekday, videos)),
            previous_views=column(video.previous_view_count for video in videos),
            hours_since_previous=column(map(hours_since_previous, videos)),
            completion_rate=column(video.completion_rate for video in videos),
            creator_avg_views=column(video.creator_avg_views for video in videos),
        )


def age_hours(video: Video) -> float | None:
    """Hours from publication to observation, never negative; None when either time is unknown.

    Where a time is only a day, ages below two days are unknown, too.
    """
    hours = _hours_between(video.published_at, video.observed_at)
    if hours is None or (video.age_is_in_days and hours < MIN_DAY_AGE_HOURS):
        return None
    return max(hours, 0.0)


def hours_since_previous(video: Video) -> float | None:
    """Hours from the previous look to this one; None when either time is unknown."""
    return _hours_between(video.previous_observed_at, video.observed_at)


def upload_hour(video: Video) -> int | None:
    """The hour of publication, 0 to 23 in UTC; None when unknown. A day is taken as its midnight."""
    hours = _published_hours(video)
    return None if hours is None else hours % 24


def weekday(video: Video) -> int | None:
    """The weekday of publication, Monday 0 to Sunday 6 in UTC; None when unknown."""
    hours = _published_hours(video)
    return None if hours is None else hours // 24 % 7


def _hours_between(first: datetime | None, last: datetime | None) -> float | None:
    if first is None or last is None:
        return None
    return (last - first).total_seconds() / SECONDS_PER_HOUR


def _published_hours(video: Video) -> int | None:
    """Whole hours from midnight UTC of Monday, 1 January of year 1, to publication; None when unknown.

    Computed by hand: `astimezone(UTC)` overflows for the first and last day that a datetime can name.
    """
    if video.published_at is None:
        return None
    offset = video.published_at.utcoffset()
    assert offset is not None, "validated times carry a zone"
    local = video.published_at.replace(tzinfo=None) - datetime.min
    return (local - offset) // timedelta(hours=1)
