"""Rows of cells to videos with their targets; a row that cannot be used is told, never dropped in silence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from features import Video
from training.data.bad_rows import BadRows
from training.data.fields import COUNTED_EMPTY, FIELDS, Columns
from training.data.table import Table

HOURS_PER_DAY = 24.0


@dataclass(frozen=True, slots=True)
class Row:
    """One snapshot of one video. `until` is when its target had been read, None where no time is known."""

    number: int
    video_id: str
    video: Video
    views_per_day: float
    is_viral: bool | None
    split: str | None
    thumbnail_url: str | None
    until: datetime | None


class _FaultError(ValueError):
    """A row that cannot be used: of which kind, and a sentence."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def read_rows(table: Table, columns: Columns) -> tuple[list[Row], BadRows, int]:
    """The rows that can be used, those that cannot, and how many there were in all."""
    bad, rows, seen, total = BadRows(), [], dict[object, int](), 0
    for number, cells in table.rows:
        total += 1
        try:
            row = _row(number, cells, columns, bad)
            _refuse_twice(row, seen)
        except _FaultError as fault:
            bad.add(fault.kind, number, str(fault))
            continue
        rows.append(row)
    return rows, bad, total


def _row(number: int, cells: Sequence[str], columns: Columns, bad: BadRows) -> Row:
    if len(cells) != columns.width:
        raise _FaultError("cells", f"has {len(cells)} cells, the header has {columns.width}")
    values = {name: _value(name, cells[place], columns) for name, place in columns.positions.items()}
    video = _video(values)
    views_per_day = _views_per_day(values)
    for name in COUNTED_EMPTY:
        if columns.has(name) and not cells[columns.positions[name]].strip():
            bad.empty[name] = bad.empty.get(name, 0) + 1
    viral = values.get("is_viral")
    seen_at = video.observed_at or video.published_at
    hours = values.get("hours_to_next", HOURS_PER_DAY)
    return Row(
        number=number,
        video_id=values.get("video_id") or _stand_in(video),
        video=video,
        views_per_day=views_per_day,
        is_viral=None if viral is None else bool(viral),
        split=values.get("split"),
        thumbnail_url=values.get("thumbnail_url") or None,
        until=_later(seen_at, hours),
    )


def _value(name: str, cell: str, columns: Columns) -> Any:
    try:
        return FIELDS[name].parse(cell)
    except ValueError as exc:
        raise _FaultError(name, f"{columns.names[name]} {exc}") from exc


def _video(values: dict[str, Any]) -> Video:
    published, observed = values.get("published_at"), values.get("observed_at")
    if published is not None and observed is not None and published > observed:
        raise _FaultError(
            "published_at",
            f"was published at {published.isoformat()}, after it was observed, {observed.isoformat()}",
        )
    known = ("title", "description", "view_count", "like_count", "comment_count", "duration_seconds")
    return Video(
        **{name: values[name] for name in known if name in values},
        published_at=published,
        observed_at=observed,
    )


def _views_per_day(values: dict[str, Any]) -> float:
    if "views_per_day" in values:
        return float(values["views_per_day"])
    views, next_views, hours = (values[name] for name in ("view_count", "next_views", "hours_to_next"))
    if next_views < views:
        raise _FaultError(
            "next_views", f"next_views {next_views} from {views}: expected no fewer views, later"
        )
    return float((next_views - views) / (hours / HOURS_PER_DAY))


def _stand_in(video: Video) -> str:
    """What tells videos apart in a file without ids."""
    published = video.published_at.isoformat() if video.published_at else ""
    return f"{video.title} {published}".strip()


def _later(moment: datetime | None, hours: float) -> datetime | None:
    try:
        return None if moment is None else moment + timedelta(hours=hours)
    except OverflowError:  # the last days that a datetime can name
        return moment


def _refuse_twice(row: Row, seen: dict[object, int]) -> None:
    """The same snapshot twice would count twice. Without a time, only equal rows are one."""
    key: object = (row.video_id, row.video.observed_at)
    if row.video.observed_at is None:
        key = (row.video_id, row.video, row.views_per_day)
    first = seen.setdefault(key, row.number)
    if first != row.number:
        raise _FaultError("duplicate", f"is the same video at the same time as row {first}")
