"""One video as the features see it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, time
from typing import Any, Self


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
    # The same video's look before `observed_at`.
    previous_view_count: int | None = None
    previous_observed_at: datetime | None = None
    # Only checkpoints trained on the first list of features, `MILES_V0`, read these.
    share_count: int | None = None
    save_count: int | None = None
    completion_rate: float | None = None
    creator_avg_views: float | None = None

    @property
    def published_day(self) -> bool:
        """Whether only the day of publication is known: its time is exactly midnight."""
        return self.published_at is not None and self.published_at.time() == time.min

    @property
    def age_is_in_days(self) -> bool:
        """Whether the age is known to 24 hours only, because a time is a day."""
        return self.published_day or (self.observed_at is not None and self.observed_at.time() == time.min)

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """The video that plain values describe, times in ISO 8601 with a zone; other keys are ignored.

        Raises `KeyError` without a title, `ValueError` for a time that is none.
        """
        known = {
            field.name: values[field.name] for field in fields(cls) if values.get(field.name) is not None
        }
        for name in ("published_at", "observed_at", "previous_observed_at"):
            if name in known:
                known[name] = datetime.fromisoformat(known[name])
        return cls(**{"title": values["title"], **known})
