"""One video as the features see it: its words, its counts, and when both were read."""

from dataclasses import dataclass
from datetime import datetime

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Video:
    """The raw columns of one video, already validated: counts are >= 0 and times carry a zone."""

    title: str
    description: str = ""
    view_count: int = 0
    like_count: int = 0
    comment_count: int = 0
    duration_seconds: float = 30.0
    published_at: datetime | None = None
    observed_at: datetime | None = None

    @property
    def age_hours(self) -> float | None:
        """Hours from publication to observation, never negative; None when either time is unknown."""
        if self.published_at is None or self.observed_at is None:
            return None
        return max((self.observed_at - self.published_at).total_seconds(), 0.0) / SECONDS_PER_HOUR
