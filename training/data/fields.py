"""The columns of a training file: what each holds, under which names it is looked for, how a cell is read.

They are the request's own, so that a video means the same when it is trained on and when it is scored: an
empty count is 0, an empty duration 30 seconds, a time without a zone is UTC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from features.video import DEFAULT_DURATION_SECONDS, MAX_COUNT, parse_count, parse_time
from training.data.table import DatasetError, Table
from training.fit_stats.columns import flag, number, shown, some

SPLITS = ("train", "val", "test")
PURGED = "purged"  # rows whose next snapshot lies beyond their split's end
SPLIT_WORDS = {"training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}
LARGEST_RATE = 1e15  # views per day; the whole of YouTube has fewer

Value = str | int | float | bool | datetime | None


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that a row says; `parse` raises `ValueError` with a sentence's end."""

    name: str
    names: tuple[str, ...]
    parse: Callable[[str], Value]


def _title(cell: str) -> str:
    if not cell.strip():
        raise ValueError("is empty, and no request has an empty title")
    return cell


def _count(cell: str) -> int:
    """A whole number; an empty cell is 0, as null is in a request."""
    if not cell.strip():
        return 0
    return _known_count(cell)


def _known_count(cell: str) -> int:
    try:
        return parse_count(cell)
    except ValueError:
        raise ValueError(
            f"is {shown(cell)}, expected a whole number from 0 to {MAX_COUNT}, without separators or a unit"
        ) from None


def _duration(cell: str) -> float:
    return _at_least_zero(cell) if cell.strip() else DEFAULT_DURATION_SECONDS


def _at_least_zero(cell: str) -> float:
    value = number(cell)
    if value < 0:
        raise ValueError(f"is {shown(cell)}, expected 0 or more")
    return value


def _rate(cell: str) -> float:
    value = _at_least_zero(cell)
    if value > LARGEST_RATE:
        raise ValueError(f"is {shown(cell)}, expected views per day, at most {LARGEST_RATE:g}")
    return value


def _hours(cell: str) -> float:
    value = number(cell)
    if value <= 0:
        raise ValueError(f"is {shown(cell)}, expected hours until the next count, more than 0")
    return value


def _time(cell: str) -> datetime | None:
    try:
        return parse_time(cell)
    except ValueError:
        raise ValueError(f"is {shown(cell)}, expected ISO 8601 like 2018-01-31T06:00:00Z") from None


def _id(cell: str) -> str:
    if not cell.strip():
        raise ValueError("is empty, and rows of one video could not be told to be so")
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
# Empty cells of these are counted and told; an empty description is nothing unusual.
COUNTED_EMPTY = (
    "view_count",
    "like_count",
    "comment_count",
    "duration_seconds",
    "published_at",
    "observed_at",
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each field that the file has stands, and how wide a row is."""

    positions: Mapping[str, int]
    names: Mapping[str, str]
    width: int

    def has(self, name: str) -> bool:
        """Whether the file has this field."""
        return name in self.positions


def find_columns(table: Table, renamed: Mapping[str, str]) -> Columns:
    """Every field's column: the one that `renamed` says, or the usual one. Raises `DatasetError`.

    A field that is renamed to nothing is left out, as if the file did not have it.
    """
    unknown = sorted(renamed.keys() - FIELDS.keys())
    if unknown:
        raise DatasetError(f"--column {unknown[0]}: is no field; the fields are {some(list(FIELDS))}")
    names: dict[str, str] = {}
    for name, field in FIELDS.items():
        if name in renamed:
            if renamed[name] and renamed[name] not in table.columns:
                raise DatasetError(
                    f"{table.path}: has no column {renamed[name]}, which --column {name}={renamed[name]} "
                    f"names; found {some(table.columns)}"
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
            f"{table.path}: lacks the columns {', '.join(missing)}; found {some(table.columns)}. "
            "Name them with --column, like --column title=headline."
        )


def _refuse_future_inputs(table: Table, names: Mapping[str, str]) -> None:
    """An input must not be read from a column that is the target, or that two fields share."""
    future = {each for field in TARGETS for each in field.names}
    future |= {names[field.name] for field in TARGETS if field.name in names}
    for field in INPUTS:
        column = names.get(field.name)
        if column in future:
            raise DatasetError(
                f"{table.path}: {field.name} is read from {column}, which holds what happens later. A "
                "request cannot know it: name the column with the value at observed_at."
            )
    seen: dict[str, str] = {}
    for name, column in names.items():
        if column in seen:
            raise DatasetError(
                f"{table.path}: {seen[column]} and {name} are both read from {column}; name one column each"
            )
        seen[column] = name
