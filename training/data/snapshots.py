"""A training file from the scraper's snapshots: each look at a video with the next one.

The next look is the first one 12 to 72 hours later, and the previous look is the latest one 6 to 96 hours
earlier, as in the predictions' outcomes and requests. The file is read like any other, so all checks apply.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

from training.data.database import Row
from training.data.table import DatasetError, as_text

if TYPE_CHECKING:
    import psycopg

MIN_HOURS, MAX_HOURS = 12, 72
QUERY: LiteralString = """
SELECT to_jsonb(c) AS candidate, s.taken_at AS observed_at, s.view_count, s.like_count, s.comment_count,
  before.view_count AS previous_view_count, before.taken_at AS previous_observed_at,
  next.view_count AS next_views, extract(epoch FROM next.taken_at - s.taken_at) / 3600.0 AS hours_to_next
FROM snapshots s
JOIN candidates c ON c.id::text = s.candidate_id
JOIN LATERAL (
  SELECT n.taken_at, n.view_count FROM snapshots n
  WHERE n.candidate_id = s.candidate_id AND n.view_count IS NOT NULL
    AND n.taken_at BETWEEN s.taken_at + make_interval(hours => %(min)s)
      AND s.taken_at + make_interval(hours => %(max)s)
  ORDER BY n.taken_at LIMIT 1
) next ON true
LEFT JOIN LATERAL (
  SELECT b.taken_at, b.view_count FROM snapshots b
  WHERE b.candidate_id = s.candidate_id AND b.view_count IS NOT NULL
    AND b.taken_at BETWEEN s.taken_at - interval '96 hours' AND s.taken_at - interval '6 hours'
  ORDER BY b.taken_at DESC LIMIT 1
) before ON true
WHERE s.view_count IS NOT NULL
ORDER BY s.taken_at, s.candidate_id
"""
OF_VIDEO = {
    **dict.fromkeys(("title", "description", "thumbnail_url", "duration_seconds")),
    "published_at": "upload_date",
}
"""The candidates' columns, by the training file's names; None: the same name."""
OF_LOOK = (
    *("observed_at", "view_count", "like_count", "comment_count", "previous_view_count"),
    *("previous_observed_at", "next_views", "hours_to_next"),
)


def write_pairs(connection: "psycopg.Connection[Row]", path: Path) -> str:
    """Write the training file and return a summary. Raises `DatasetError` if there is no pair of looks."""
    fell = untitled = rows = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(["video_id", *OF_VIDEO, *OF_LOOK])
        for row in connection.execute(QUERY, {"min": MIN_HOURS, "max": MAX_HOURS}):
            if row["next_views"] < row["view_count"]:
                fell += 1
            elif not str(row["candidate"].get("title") or "").strip():
                untitled += 1
            else:
                writer.writerow([as_text(cell) for cell in _cells(row)])
                rows += 1
    found = (
        f"{rows:,} looks with a next one 12 to 72 hours later; left out {fell:,} whose views fell and "
        f"{untitled:,} without a title"
    )
    if not rows:
        raise DatasetError(
            f"the database has {found}: expected looks at the same videos on later days. Let the scraper "
            "update its rows daily, with the tables of clients/database/loop.sql"
        )
    return found


def _cells(row: Row) -> Iterator[Any]:
    candidate = row["candidate"]
    yield candidate.get("video_id") or candidate["id"]
    yield from (candidate.get(column or name) for name, column in OF_VIDEO.items())
    yield from (row[name] if name != "hours_to_next" else float(row[name]) for name in OF_LOOK)
