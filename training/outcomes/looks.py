"""Each prediction with the next look at its video.

The outcome is the one that the model was trained for: the growth in views per day from the scored look to the
first later one that is 12 to 72 hours away. A prediction without a view count is measured from the first look
within 12 hours after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, LiteralString

from training.data.database import Row
from training.data.snapshots import MAX_HOURS, MIN_HOURS

if TYPE_CHECKING:
    import psycopg

STATES = ("judged", "too young", "not seen again", "count fell", "no view count")
JUDGED, YOUNG, UNSEEN, FELL, UNCOUNTED = STATES
QUERY: LiteralString = """
SELECT p.*, base.views AS base_views, base.at AS base_at, next.view_count AS next_views,
  next.taken_at AS next_at, now() AS now
FROM predictions p
LEFT JOIN LATERAL (
  SELECT p.observed_at AS at, p.view_count AS views WHERE p.view_count IS NOT NULL
  UNION ALL (
    SELECT s.taken_at, s.view_count FROM snapshots s
    WHERE p.view_count IS NULL AND s.candidate_id = p.candidate_id AND s.view_count IS NOT NULL
      AND s.taken_at BETWEEN p.observed_at AND p.observed_at + make_interval(hours => %(min)s)
    ORDER BY s.taken_at LIMIT 1)
) base ON true
LEFT JOIN LATERAL (
  SELECT s.taken_at, s.view_count FROM snapshots s
  WHERE s.candidate_id = p.candidate_id AND s.view_count IS NOT NULL
    AND s.taken_at BETWEEN base.at + make_interval(hours => %(min)s)
      AND base.at + make_interval(hours => %(max)s)
  ORDER BY s.taken_at LIMIT 1
) next ON true
WHERE %(days)s::float8 IS NULL OR p.observed_at >= now() - make_interval(secs => 86400 * %(days)s::float8)
ORDER BY p.observed_at, p.id
"""


@dataclass(frozen=True, slots=True)
class Looked:
    """A prediction, its state, and the actual views per day; None unless it is judged."""

    id: str
    candidate_id: str
    shadow_of: str | None
    version: str
    observed_at: datetime
    viral_score: float
    velocity: float
    interval: tuple[float, float] | None
    known: tuple[str, ...]
    state: str
    views_per_day: float | None


def looks(connection: "psycopg.Connection[Row]", days: float | None = None) -> list[Looked]:
    """Every prediction, or those of the last `days`, the oldest first."""
    found = connection.execute(QUERY, {"min": MIN_HOURS, "max": MAX_HOURS, "days": days})
    return [_looked(row) for row in found]


def _looked(row: Row) -> Looked:
    state = _state(row)
    rate = None
    if state == JUDGED:
        hours = (row["next_at"] - row["base_at"]).total_seconds() / 3600
        rate = (row["next_views"] - row["base_views"]) / (hours / 24)
    ends = (row["velocity_low"], row["velocity_high"])
    return Looked(
        id=str(row["id"]),
        candidate_id=row["candidate_id"],
        shadow_of=str(row["shadow_of"]) if row["shadow_of"] else None,
        version=row["model_version"],
        observed_at=row["observed_at"],
        viral_score=row["viral_score"],
        velocity=row["predicted_velocity"],
        interval=None if None in ends else ends,
        known=tuple(row["known"]),
        state=state,
        views_per_day=rate,
    )


def _state(row: Row) -> str:
    if row["next_at"] is not None:
        return JUDGED if row["next_views"] >= row["base_views"] else FELL
    age_hours = (row["now"] - (row["base_at"] or row["observed_at"])).total_seconds() / 3600
    if age_hours < MAX_HOURS:
        return YOUNG
    return UNSEEN if row["base_at"] is not None else UNCOUNTED


def condition(known: Sequence[str]) -> str:
    """What was known about a video, in the other reports' terms."""
    if "view_count" not in known:
        return "title and length"
    if not {"published_at", "observed_at"} <= set(known):
        return "counts"
    return "counts and age" + (" and previous look" if "previous_view_count" in known else "")
