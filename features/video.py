"""One video as the features see it: its words, its counts, and when both were read."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Self

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Video:
    """The raw columns of one video, already validated: counts are >= 0 and times carry a zone.

    What is None is not known; the features that need it take the training mean.
    """

    title: str
    description: str = ""
    view_count: int = 0
    like_count: int = 0
    comment_count: int = 0
    duration_seconds: float = 30.0
    published_at: datetime | None = None
    observed_at: datetime | None = None
    # Only checkpoints trained on the first list of features, `MILES_V0`, read these.
    share_count: int | None = None
    save_count: int | None = None
    completion_rate: float | None = None
    creator_avg_views: float | None = None

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """The video that plain values describe, times in ISO 8601 with a zone; other keys are ignored.

        Raises `KeyError` without a title, `ValueError` for a time that is none.
        """
        known = {
            field.name: values[field.name] for field in fields(cls) if values.get(field.name) is not None
        }
        for name in ("published_at", "observed_at"):
            if name in known:
                known[name] = datetime.fromisoformat(known[name])
        return cls(**{"title": values["title"], **known})

    @property
    def age_hours(self) -> float | None:
        """Hours from publication to observation, never negative; None when either time is unknown."""
        if self.published_at is None or self.observed_at is None:
            return None
        return max((self.observed_at - self.published_at).total_seconds(), 0.0) / SECONDS_PER_HOUR

    @property
    def published_hours(self) -> int | None:
        """Whole hours from midnight UTC of Monday, 1 January of year 1, to publication; None when unknown.

        Counted by hand: `astimezone(UTC)` overflows for the first and last day that a datetime can name.
        """
        if self.published_at is None:
            return None
        offset = self.published_at.utcoffset()
        assert offset is not None, "validated times carry a zone"
        local = self.published_at.replace(tzinfo=None) - datetime.min
        return (local - offset) // timedelta(hours=1)
