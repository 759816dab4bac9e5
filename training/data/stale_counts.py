"""Refuses counts that were read once and copied to every snapshot of their video.

A crawler that joins the latest counts to old rows gives each row a count from its future. This shows when a
video gained views between its snapshots but has the same count in all of them.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from training.data.rows import Row
from training.data.table import DatasetError

COUNTS = ("view_count", "like_count", "comment_count", "share_count", "save_count")
SECONDS_PER_DAY = 86400.0
# A count that is expected to grow by less than this may really be unchanged.
MIN_EXPECTED_GROWTH = 5.0
MIN_VIDEOS = 10
MAX_COPIED = 0.5


def refuse_stale_counts(path: Path, rows: Sequence[Row]) -> None:
    """Raise `DatasetError` for a count that is the same in all snapshots of most videos that gained views."""
    snapshots = _several(rows)
    for name in COUNTS:
        known = [members for members in snapshots if None not in (_count(row, name) for row in members)]
        grew = [members for members in known if _expected_growth(members, name) >= MIN_EXPECTED_GROWTH]
        copied = [members for members in grew if len({_count(row, name) for row in members}) == 1]
        if len(grew) >= MIN_VIDEOS and len(copied) > MAX_COPIED * len(grew):
            first = copied[0][0]
            raise DatasetError(
                f"{path}: {name} is the same in all snapshots of {len(copied)} of the {len(grew)} "
                f"videos that gained views between them (video {first.video_id}: "
                f"{_count(first, name)}, from row {first.number}). It was read after observed_at. Use the "
                f"count at observed_at, or leave the column out with --column {name}="
            )


def _several(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each video with two or more timed snapshots, in order of time."""
    videos: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.video.observed_at is not None:
            videos[row.video_id].append(row)
    return [sorted(members, key=_moment) for members in videos.values() if len(members) > 1]


def _moment(row: Row) -> float:
    assert row.video.observed_at is not None, "_several keeps rows with a time only"
    return row.video.observed_at.timestamp()


def _count(row: Row, name: str) -> int | None:
    count: int | None = getattr(row.video, name)
    return count


def _expected_growth(members: Sequence[Row], name: str) -> float:
    """The growth of a count between the first and the last row, had it grown with the views."""
    first = members[0]
    days = (_moment(members[-1]) - _moment(first)) / SECONDS_PER_DAY
    gained = min(row.views_per_day for row in members) * days
    return (_count(first, name) or 0) * gained / max(first.video.view_count or 0, 1)
