"""The columns of a training file: what each holds, its usual names, and how a cell is read.

A cell means what it means in a request: an empty one is unknown, and a time without a zone is UTC.
"""

import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from features.near_names import WORDS, field_like
from features.parsing import OTHER_NAMES, PARSERS, is_unknown_cell, parse_text
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
    return parse_text(cell)


def _as_request(name: str) -> Callable[[str], Value]:
    """A cell as a request's value; cells such as N/A are unknown, too."""

    def parse(cell: str) -> Value:
        if is_unknown_cell(cell):
            return None
        try:
            value: Value = PARSERS[name](cell)
        except ValueError as exc:
            raise ValueError(f"is {shown(cell)}, {exc}") from None
        return value

    return parse


def _next_views(cell: str) -> Value:
    views = _as_request("view_count")(cell)
    if views is None:
        raise ValueError("is empty, expected the view count of the next look")
    return views


def _rate(cell: str) -> float:
    value = number(cell)
    if not 0 <= value <= MAX_RATE:
        raise ValueError(f"is {shown(cell)}, expected views per day from 0 to {MAX_RATE:g}")
    return value


def _hours(cell: str) -> float:
    value = number(cell)
    if value <= 0:
        raise ValueError(f"is {shown(cell)}, expected hours until the next count, above 0")
    return value


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


OF_REQUEST = tuple(PARSERS)
INPUTS = (
    Field("title", ("title",), _title),
    Field("description", ("description",), parse_text),
    Field("thumbnail_url", ("thumbnail_url", *OTHER_NAMES["thumbnail_url"]), str.strip),
    *(Field(name, (name, *OTHER_NAMES.get(name, ())), _as_request(name)) for name in OF_REQUEST),
)
BOOKKEEPING = (Field("video_id", ("video_id",), _id), Field("split", ("split",), _split))
TARGETS = (
    Field("views_per_day", ("views_per_day", "view_velocity", "velocity"), _rate),
    Field("next_views", ("next_views",), _next_views),
    Field("hours_to_next", ("hours_to_next",), _hours),
    Field("is_viral", ("is_viral", "viral_label"), flag),
)
FIELDS = {field.name: field for field in (*INPUTS, *BOOKKEEPING, *TARGETS)}
FRACTIONS = ("views_per_day", "hours_to_next", "completion_rate", "creator_avg_views", "duration_seconds")
# Empty cells of these are counted and reported; an empty description is common.
REPORTED_IF_EMPTY = tuple(field.name for field in INPUTS[3:])


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of each field that the file has, as (position, name), and the number of columns.

    Where a field has several columns, the first that is not empty counts, as in a request.
    """

    places: Mapping[str, tuple[tuple[int, str], ...]]
    width: int
    has_decimal_commas: bool = False
    near: tuple[str, ...] = ()
    """The whole mapping, `FIELD=COLUMN` each, with columns that look like missing fields; else empty."""

    def has(self, name: str) -> bool:
        """Whether the file has this field."""
        return name in self.places


def find_columns(table: Table, renamed: Mapping[str, str]) -> Columns:
    """Every field's column: the one in `renamed`, or the usual one. Raises `DatasetError`.

    A field that is renamed to "" is left out.
    """
    unknown = sorted(renamed.keys() - FIELDS.keys())
    if unknown:
        raise DatasetError(f"--column {unknown[0]}: unknown field; the fields are {listed(list(FIELDS))}")
    names: dict[str, tuple[str, ...]] = {}
    for name, field in FIELDS.items():
        if name in renamed:
            if renamed[name] and renamed[name] not in table.columns:
                raise DatasetError(
                    f"{table.path}: has no column {renamed[name]} (--column {name}={renamed[name]}); it has "
                    f"{listed(table.columns)}"
                )
            found: tuple[str, ...] = (renamed[name],) if renamed[name] else ()
        else:
            found = tuple(each for each in field.names if each in table.columns)
            found = found if name in OTHER_NAMES else found[:1]
        if found:
            names[name] = found
    used = {column for columns in names.values() for column in columns}
    near = near_columns(table.columns, names.keys() | renamed.keys(), used)
    near = [f"{name}={column}" for name, column in renamed.items()] + near if near else []
    _require(table, names, near)
    _refuse_future_inputs(table, names)
    places = {
        name: tuple((table.position(column), column) for column in columns) for name, columns in names.items()
    }
    return Columns(places, len(table.columns), table.has_decimal_commas, tuple(near))


def _require(table: Table, names: Mapping[str, tuple[str, ...]], near: Sequence[str]) -> None:
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
            + (
                f"With columns of near names: {command(table.path, near)}"
                if near
                else "Map them with --column, for example --column title=headline."
            )
            + _about_target(names, missing)
        )


def _about_target(names: Mapping[str, object], missing: Sequence[str]) -> str:
    """Where to get a target from, for a scraper's table that lacks one."""
    if "views_per_day" not in str(missing) or not {"view_count", "observed_at"} <= names.keys():
        return ""
    return (
        " A head learns what a video gained after observed_at, which this file does not contain. From two "
        "scrapes of each video, ./miles train --from DATABASE_URL computes it (docs/outcomes.md)."
    )


def _refuse_future_inputs(table: Table, names: Mapping[str, tuple[str, ...]]) -> None:
    """An input must not come from a target's column, and each field needs a column of its own."""
    future = {each for field in TARGETS for each in field.names}
    future |= {column for field in TARGETS for column in names.get(field.name, ())}
    for field in INPUTS:
        for column in future.intersection(names.get(field.name, ())):
            raise DatasetError(
                f"{table.path}: {field.name} is read from {column}, which is measured after observed_at. A "
                "request cannot know it: use the column with the value at observed_at."
            )
    seen: dict[str, str] = {}
    for name, column in ((name, column) for name, columns in names.items() for column in columns):
        if column in seen:
            raise DatasetError(
                f"{table.path}: {seen[column]} and {name} are both read from {column}; map each to its own "
                "column"
            )
        seen[column] = name


def near_columns(columns: Iterable[str], known: Collection[str], used: Collection[str]) -> list[str]:
    """`FIELD=COLUMN` for each field that is not `known`, if a column that is not `used` has a near name."""
    found: dict[str, str] = {}
    for column in columns:
        field = field_like(column)
        if field is not None and field not in known and column not in used:
            found.setdefault(field, column)
    if "title" not in known and "title" not in found and "description" in found:
        found["title"] = found.pop("description")  # a video's only text is its title
    return [f"{field}={found[field]}" for field in WORDS if field in found]


def command(path: Path, mapping: Iterable[str]) -> str:
    """The command that reads the columns of a mapping."""
    return " ".join(
        ["./miles train", shlex.quote(str(path)), *(f"--column {shlex.quote(m)}" for m in mapping)]
    )
