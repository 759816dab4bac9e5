"""The columns of a training file: what each holds, its usual names, and how a cell is read.

A cell means what it means in a request: an empty one is unknown, and a time without a zone is UTC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from features.video import MAX_COUNT, parse_count, parse_time
from training.data.cells import flag, listed, number, shown
from training.data.table import DatasetError, Table

SPLITS = ("train", "val", "test")
PURGED = "purged"  # rows whose next snapshot is later than the end of their split
SPLIT_WORDS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}
MAX_RATE = 1e15  # views per day; all of YouTube has fewer

Value = str | int | float | bool | datetime | None


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a row; `parse` raises `ValueError` with the end of a sentence."""

    name: str
    names: tuple[str, ...]
    parse: Callable[[str], Value]


def _title(cell: str) -> str:
    if not cell.strip():
        raise ValueError("is empty; every video needs a title")
    return cell


def _count(cell: str) -> int | None:
    return _known_count(cell) if cell.strip() else None


def _known_count(cell: str) -> int:
    try:
        return parse_count(cell)
    except ValueError:
        raise ValueError(
            f"is {shown(cell)}, expected a whole number from 0 to {MAX_COUNT}, without separators or a unit"
        ) from None


def _duration(cell: str) -> float | None:
    return _at_least_zero(cell) if cell.strip() else None


def _at_least_zero(cell: str) -> float:
    value = number(cell)
    if value < 0:
        raise ValueError(f"is {shown(cell)}, expected 0 or more")
    return value


def _rate(cell: str) -> float:
    value = _at_least_zero(cell)
    if value > MAX_RATE:
        raise ValueError(f"is {shown(cell)}, expected views per day, at most {MAX_RATE:g}")
    return value


def _hours(cell: str) -> float:
    value = number(cell)
    if value <= 0:
        raise ValueError(f"is {shown(cell)}, expected hours until the next count, above 0")
    return value


def _time(cell: str) -> datetime | None:
    try:
        return parse_time(cell)
    except ValueError:
        raise ValueError(f"is {shown(cell)}, expected ISO 8601 like 2018-01-31T06:00:00Z") from None


def _id(cell: str) -> str:
    if not cell.strip():
        raise ValueError("is empty; the rows of a video are grouped by it")
    return cell.strip()


def _split(cell: str) -> str:
    word = cell.strip().lower()
    word = SPLIT_WORDS.get(word, word)
    if word not in (*SPLITS, PURGED):
        raise ValueError(f"is {shown(cell)}, expected {', '.join((*SPLITS, PURGED))}")
    return word


INPUTS = (
    Field("title", ("title",), _title),
    Field("description", ("description",), str),
    Field("thumbnail_url", ("thumbnail_url",), str.strip),
    Field("view_count", ("view_count",), _count),
    Field("like_count", ("like_count",), _count),
    Field("comment_count", ("comment_count",), _count),
    Field("duration_seconds", ("duration_seconds",), _duration),
    Field("published_at", ("published_at", "upload_date"), _time),
    Field("observed_at", ("observed_at", "scraped_at"), _time),
)
BOOKKEEPING = (Field("video_id", ("video_id",), _id), Field("split", ("split",), _split))
TARGETS = (
    Field("views_per_day", ("views_per_day", "view_velocity", "velocity"), _rate),
    Field("next_views", ("next_views",), _known_count),
    Field("hours_to_next", ("hours_to_next",), _hours),
    Field("is_viral", ("is_viral", "viral_label"), flag),
)
FIELDS = {field.name: field for field in (*INPUTS, *BOOKKEEPING, *TARGETS)}
# Empty cells of these are counted and reported; an empty description is common.
REPORTED_IF_EMPTY = tuple(field.name for field in INPUTS[3:])


@dataclass(frozen=True, slots=True)
class Columns:
    """The position and the column name of each field that the file has, and the number of columns."""

    positions: Mapping[str, int]
    names: Mapping[str, str]
    width: int

    def has(self, name: str) -> bool:
        """Whether the file has this field."""
        return name in self.positions


def find_columns(table: Table, renamed: Mapping[str, str]) -> Columns:
    """Every field's column: the one in `renamed`, or the usual one. Raises `DatasetError`.

    A field that is renamed to "" is left out.
    """
    unknown = sorted(renamed.keys() - FIELDS.keys())
    if unknown:
        raise DatasetError(f"--column {unknown[0]}: unknown field; the fields are {listed(list(FIELDS))}")
    names: dict[str, str] = {}
    for name, field in FIELDS.items():
        if name in renamed:
            if renamed[name] and renamed[name] not in table.columns:
                raise DatasetError(
                    f"{table.path}: has no column {renamed[name]} (--column {name}={renamed[name]}); it has "
                    f"{listed(table.columns)}"
                )
            found: str | None = renamed[name] or None
        else:
            found = next((each for each in field.names if each in table.columns), None)
        if found is not None:
            names[name] = found
    _require(table, names)
    _refuse_future_inputs(table, names)
    positions = {name: table.position(column) for name, column in names.items()}
    return Columns(positions, names, len(table.columns))


def _require(table: Table, names: Mapping[str, str]) -> None:
    missing = ["title"] * ("title" not in names)
    if "views_per_day" not in names:
        gains = [name for name in ("next_views", "hours_to_next", "view_count") if name not in names]
        if gains == ["view_count"] or (gains and len(gains) < 3 and "next_views" in names):
            missing += gains
        elif gains:
            missing.append("views_per_day, or next_views and hours_to_next")
    if missing:
        raise DatasetError(
            f"{table.path}: lacks the columns {', '.join(missing)}; it has {listed(table.columns)}. "
            "Map them with --column, for example --column title=headline."
        )


def _refuse_future_inputs(table: Table, names: Mapping[str, str]) -> None:
    """An input must not come from a target's column, and each field needs a column of its own."""
    future = {each for field in TARGETS for each in field.names}
    future |= {names[field.name] for field in TARGETS if field.name in names}
    for field in INPUTS:
        column = names.get(field.name)
        if column in future:
            raise DatasetError(
                f"{table.path}: {field.name} is read from {column}, which is measured after observed_at. A "
                "request cannot know it: use the column with the value at observed_at."
            )
    seen: dict[str, str] = {}
    for name, column in names.items():
        if column in seen:
            raise DatasetError(
                f"{table.path}: {seen[column]} and {name} are both read from {column}; map each to its own "
                "column"
            )
        seen[column] = name
