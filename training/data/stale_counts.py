"""Refuses counts that were read once and copied onto every snapshot of their video.

A crawler that joins the latest counts to old rows gives each row what its video had in the end: the future.
It shows where a video has several snapshots, gained views between them, and has the same count in all.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from training.data.rows import Row
from training.data.table import DatasetError

COUNTS = ("view_count", "like_count", "comment_count")
SECONDS_PER_DAY = 86400.0
# A count that should have grown by fewer than this may honestly have stayed.
EXPECTED_GROWTH = 5.0
FEWEST_VIDEOS = 10
MOST_COPIED = 0.5


def refuse_copied_counts(path: Path, rows: Sequence[Row]) -> None:
    """Raise `DatasetError` for a count that most videos have unchanged while they gained views."""
    snapshots = _several(rows)
    for name in COUNTS:
        grew = [members for members in snapshots if _expected_growth(members, name) >= EXPECTED_GROWTH]
        copied = [members for members in grew if len({_count(row, name) for row in members}) == 1]
        if len(grew) >= FEWEST_VIDEOS and len(copied) > MOST_COPIED * len(grew):
            first = copied[0][0]
            raise DatasetError(
                f"{path}: {name} is the same in all snapshots of {len(copied)} of the {len(grew)} "
                f"videos that gained views between them (video {first.video_id}: "
                f"{_count(first, name)}, from row {first.number}). It was read later than observed_at "
                f"and tells the future. Bring the count as it was at observed_at, or leave the column "
                f"out with --column {name}="
            )


def _several(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each video that was seen at two times or more, in time."""
    videos: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.video.observed_at is not None:
            videos[row.video_id].append(row)
    return [sorted(members, key=_moment) for members in videos.values() if len(members) > 1]


def _moment(row: Row) -> float:
    assert row.video.observed_at is not None, "_several has seen to it"
    return row.video.observed_at.timestamp()


def _count(row: Row, name: str) -> int:
    count: int = getattr(row.video, name)
    return count


def _expected_growth(members: Sequence[Row], name: str) -> float:
    """By how much a count should have grown if it had grown with the views."""
    first = members[0]
    days = (_moment(members[-1]) - _moment(first)) / SECONDS_PER_DAY
    gained = min(row.views_per_day for row in members) * days
    return _count(first, name) * gained / max(first.video.view_count, 1)
