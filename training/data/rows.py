"""From rows of cells to videos and targets; a row that cannot be used is reported, never dropped silently."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from features import Video
from features.parsing import contradictions, is_unknown_cell
from training.data.cells import with_decimal_point
from training.data.fields import FIELDS, FRACTIONS, OF_REQUEST, REPORTED_IF_EMPTY, Columns
from training.data.table import DatasetError, Table

HOURS_PER_DAY = 24.0
MAX_SENTENCES = 5  # rows of each kind that are reported with their reason
MAX_NUMBERS = 20  # and row numbers after those


@dataclass
class BadRows:
    """Rows that cannot be used, by kind: the column at fault or a word for the whole row.

    A row counts once.
    """

    reasons: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    """Number of empty cells by column; they were read as unknown."""

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.reasons.values())

    def add(self, kind: str, row: int, sentence: str) -> None:
        """Record that row number `row` is left out, and why."""
        self.reasons.setdefault(kind, []).append((row, sentence))

    def counts(self) -> dict[str, int]:
        """Number of rows by kind, the most frequent first."""
        ordered = sorted(self.reasons.items(), key=lambda item: -len(item[1]))
        return {kind: len(rows) for kind, rows in ordered}

    def lines(self) -> Iterator[str]:
        """Each kind with its count, its first rows with their reasons, and the next rows' numbers."""
        for kind, count in self.counts().items():
            rows = self.reasons[kind]
            yield f"  {kind}: {count} {'row' if count == 1 else 'rows'}"
            for number, sentence in rows[:MAX_SENTENCES]:
                yield f"    row {number}: {sentence}"
            more = [str(number) for number, _ in rows[MAX_SENTENCES : MAX_SENTENCES + MAX_NUMBERS]]
            if more:
                yield f"    and rows {', '.join(more)}" + ", ..." * (count > MAX_SENTENCES + MAX_NUMBERS)

    def empty_line(self) -> str:
        """One sentence about empty cells; empty where there were none."""
        counts = ", ".join(f"{count} of {name}" for name, count in sorted(self.empty.items()))
        return f"empty cells were read as unknown: {counts}" if counts else ""

    def refuse(self, path: Path, total: int, option: str, *, allowed: bool) -> None:
        """Raise `DatasetError` for bad rows that are not `allowed`, or if no row of `total` is left."""
        lines = "".join(f"\n{line}" for line in self.lines())
        if len(self) == total:
            raise DatasetError(f"{path}: none of its {total} rows can be used{lines}")
        if self.reasons and not allowed:
            raise DatasetError(
                f"{path}: {len(self)} of {total} rows cannot be used; correct them, or leave them out with "
                f"{option}{lines}"
            )


@dataclass(frozen=True, slots=True)
class Row:
    """One snapshot of one video. `until` is the time of its target's count, None where no time is known."""

    number: int
    video_id: str
    video: Video
    views_per_day: float
    is_viral: bool | None
    split: str | None
    thumbnail_url: str | None
    until: datetime | None


class BadRowError(ValueError):
    """A row that cannot be used, with its kind."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def check_width(cells: Sequence[str], width: int) -> None:
    """Raise `BadRowError` for a row with more or fewer cells than the header."""
    if len(cells) != width:
        raise BadRowError("cells", f"has {len(cells)} cells, the header has {width}")


def read_rows(table: Table, columns: Columns) -> tuple[list[Row], BadRows, int]:
    """The rows that can be used, those that cannot, and their total number."""
    bad, rows, seen, total = BadRows(), [], dict[object, int](), 0
    for number, cells in table.rows:
        total += 1
        try:
            row = _row(number, cells, columns, bad)
            _refuse_duplicate(row, seen)
        except BadRowError as exc:
            bad.add(exc.kind, number, str(exc))
            continue
        rows.append(row)
    return rows, bad, total


def _row(number: int, cells: Sequence[str], columns: Columns, bad: BadRows) -> Row:
    check_width(cells, columns.width)
    values = {name: _value(name, cells, columns) for name in columns.places}
    video = _video(values)
    views_per_day = _views_per_day(values)
    for name in REPORTED_IF_EMPTY:
        if columns.has(name) and all(is_unknown_cell(cells[place]) for place, _ in columns.places[name]):
            bad.empty[name] = bad.empty.get(name, 0) + 1
    viral = values.get("is_viral")
    return Row(
        number=number,
        video_id=values.get("video_id") or _title_and_time(video),
        video=video,
        views_per_day=views_per_day,
        is_viral=None if viral is None else bool(viral),
        split=values.get("split"),
        thumbnail_url=values.get("thumbnail_url") or None,
        until=_later(video.observed_at or video.published_at, values.get("hours_to_next", HOURS_PER_DAY)),
    )


def _value(name: str, cells: Sequence[str], columns: Columns) -> Any:
    places = columns.places[name]
    place, column = next((each for each in places if not is_unknown_cell(cells[each[0]])), places[0])
    cell = cells[place]
    if columns.has_decimal_commas and name in FRACTIONS:
        cell = with_decimal_point(cell)
    try:
        return FIELDS[name].parse(cell)
    except ValueError as exc:
        raise BadRowError(name, f"{column} {exc}") from exc


def _video(values: dict[str, Any]) -> Video:
    for name, sentence in contradictions(values, datetime.now(UTC)):
        raise BadRowError(name, f"{name} {sentence}")
    known = ("title", "description", *OF_REQUEST)
    return Video(**{name: values[name] for name in known if name in values})


def _views_per_day(values: dict[str, Any]) -> float:
    if "views_per_day" in values:
        return float(values["views_per_day"])
    views, next_views, hours = (values[name] for name in ("view_count", "next_views", "hours_to_next"))
    if views is None:
        raise BadRowError("view_count", "view_count is empty; the views per day are counted from it")
    if next_views < views:
        raise BadRowError(
            "next_views", f"next_views is {next_views}, expected at least the view_count, {views}"
        )
    return float((next_views - views) / (hours / HOURS_PER_DAY))


def _title_and_time(video: Video) -> str:
    """Identifies a video in a file without ids."""
    published = video.published_at.isoformat() if video.published_at else ""
    return f"{video.title} {published}".strip()


def _later(moment: datetime | None, hours: float) -> datetime | None:
    try:
        return None if moment is None else moment + timedelta(hours=hours)
    except OverflowError:  # the last days of the year 9999
        return moment


def _refuse_duplicate(row: Row, seen: dict[object, int]) -> None:
    """The same snapshot twice would count twice. Without a time, only equal rows are duplicates."""
    key: object = (row.video_id, row.video.observed_at)
    if row.video.observed_at is None:
        key = (row.video_id, row.video, row.views_per_day)
    first = seen.setdefault(key, row.number)
    if first != row.number:
        raise BadRowError("duplicate", f"is the same video at the same time as row {first}")
