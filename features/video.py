"""One video as the features see it, and the columns of several, which every formula reads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, time, timedelta
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
SECONDS_PER_HOUR = 3600.0
# An age that is known to the day says nothing about a video this young.
MIN_DAY_AGE_HOURS = 48.0


@dataclass(frozen=True, slots=True)
class Video:
    """The raw columns of one video, already validated: counts are >= 0 and times carry a zone.

    None means unknown, which is not 0; the features that need it take the training mean.
    """

    title: str
    description: str = ""
    view_count: int | None = None
    like_count: int | None = None
    comment_count: int | None = None
    duration_seconds: float | None = None
    published_at: datetime | None = None
    observed_at: datetime | None = None
    # The same video at the look before `observed_at`.
    previous_view_count: int | None = None
    previous_observed_at: datetime | None = None
    # Read only by checkpoints whose training data had them.
    share_count: int | None = None
    save_count: int | None = None
    completion_rate: float | None = None
    creator_avg_views: float | None = None

    @property
    def published_day(self) -> bool:
        """Whether only the day of publication is known: its time is exactly midnight."""
        return _is_day(self.published_at)

    @property
    def age_is_in_days(self) -> bool:
        """Whether the age is known only to 24 hours, because one of its times is only a day."""
        return self.published_day or _is_day(self.observed_at)

    @property
    def gap_is_in_days(self) -> bool:
        """Whether the time between the looks is known only to 24 hours, because one of them is only a day.

        Two days come from a daily job, whose looks are as far apart as the days.
        """
        return _is_day(self.previous_observed_at) != _is_day(self.observed_at)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """The video that plain values describe, times in ISO 8601 with a zone; other keys are ignored.

        Raises `KeyError` without a title, `ValueError` for an invalid time.
        """
        known = {
            field.name: values[field.name] for field in fields(cls) if values.get(field.name) is not None
        }
        for name in ("published_at", "observed_at", "previous_observed_at"):
            if name in known:
                known[name] = datetime.fromisoformat(known[name])
        return cls(**{"title": values["title"], **known})


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
    """Hours from the previous look to this one; None when either time is unknown.

    Where only one time is a day, gaps below two days are unknown, too.
    """
    hours = _hours_between(video.previous_observed_at, video.observed_at)
    return None if hours is not None and video.gap_is_in_days and hours < MIN_DAY_AGE_HOURS else hours


def upload_hour(video: Video) -> int | None:
    """The hour of publication, 0 to 23 in UTC; None when unknown. A day is taken as its midnight."""
    hours = _published_hours(video)
    return None if hours is None else hours % 24


def weekday(video: Video) -> int | None:
    """The weekday of publication, Monday 0 to Sunday 6 in UTC; None when unknown."""
    hours = _published_hours(video)
    return None if hours is None else hours // 24 % 7


def _is_day(moment: datetime | None) -> bool:
    return moment is not None and moment.time() == time.min


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
