"""Which column each field of a request is read from, and how cells are read."""

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miles_client.files.tables import Cells, Table, json_value
from miles_client.names import NUMBERS, REQUEST_FIELDS, TEXTS, is_unknown, near, with_other_names
from miles_client.service import Refusal
from miles_client.settings import SettingError, shown

SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)\s?([KMB])(?:\s+[a-z]+)?", re.IGNORECASE)
FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9}
DOTTED = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")


@dataclass(frozen=True)
class Columns:
    """Which column each request field is read from, and how cells are read."""

    fields: Mapping[str, str]
    nulls: Sequence[str] = ()
    suffixes: bool = False
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)
    """How often each text was read as unknown."""

    def video(self, row: Cells) -> Cells:
        """The request for a row, without nulls; raises `ValueError` for a cell that cannot be read."""
        cells = {field: row.get(column) for field, column in self.fields.items()}
        video = {field: self._value(field, cell) for field, cell in cells.items()}
        return {field: value for field, value in video.items() if value is not None and value != ""}

    def _value(self, field: str, cell: Any) -> Any:
        if isinstance(cell, list | dict):
            raise ValueError(f"{field}: expected one value, found {shown(cell)}")  # noqa: TRY004  a row error
        if isinstance(cell, bytes):
            cell = _decoded(field, cell)
        if not isinstance(cell, str):
            return json_value(cell)
        text = cell.strip()
        if field in TEXTS:
            return None if field != "title" and text in self.nulls else cell
        if text in self.nulls or is_unknown(field, text):
            self.unknown[text] += 1
            return None
        if field.endswith("_count") and DOTTED.fullmatch(text):
            raise ValueError(f"{field}: {text!r} may have dots between thousands: write it without them")
        if field not in NUMBERS or (found := SUFFIXED.fullmatch(text)) is None:
            return text  # the service reads it
        if not self.suffixes:
            raise ValueError(f"{field}: {text!r} is rounded; add --suffixes to read it as a number")
        return round(float(found[1]) * FACTORS[found[2].upper()])


def _decoded(field: str, cell: bytes) -> str:
    """The text of a binary cell; raises `ValueError` if it is not UTF-8."""
    try:
        return cell.decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"{field}: {shown(cell)} is not UTF-8 ({exc.reason})") from exc


def mapping(table: Table, named: Sequence[str], *, thumbnails: bool) -> dict[str, str]:
    """Map request fields to columns; raises `SettingError` for an unknown field or column.

    Also raises it if there is no view count but a column looks like one: all rows would have 0 views.
    """
    found = {field: field for field in REQUEST_FIELDS if field in table.columns}
    without = set()
    for pair in named:
        field, _, column = pair.partition("=")
        if field not in REQUEST_FIELDS or (column and column not in table.columns):
            raise SettingError(
                f"--map {pair}: expected FIELD=COLUMN with a field of {', '.join(REQUEST_FIELDS)} "
                f"and a column of {shown(', '.join(table.columns), 300)}"
            )
        if column:
            found[field] = column
        else:
            found.pop(field, None)
            without.add(field)
    twice = [column for column in found.values() if table.columns.count(column) > 1]
    if twice:
        raise SettingError(f"the header has {', '.join(twice)} more than once: rename all but one of them")
    maps = options_for(near(table.columns, found))
    if "title" not in found:
        proposed = maps if "--map title=" in maps else f"--map title=COLUMN {maps}".strip()
        raise SettingError(f"no column `title` in {shown(', '.join(table.columns), 300)}; add {proposed}")
    if "view_count" not in found and "--map view_count=" in maps and "view_count" not in without:
        raise SettingError(
            f"no column `view_count` in {shown(', '.join(table.columns), 300)}; add {maps}, "
            "or --map view_count= to score without views"
        )
    if not thumbnails:
        found = {field: column for field, column in found.items() if not field.startswith("thumbnail")}
    return found


def options_for(columns: Mapping[str, str]) -> str:
    """The options that read these columns, as they are typed in a shell."""
    return " ".join(f"--map {shlex.quote(f'{field}={column}')}" for field, column in columns.items())


def overview(table: Table, found: Mapping[str, str]) -> str:
    """Which columns are read and which are not, with the options that would read them."""
    read = [field if field == column else f"{field} (from {column})" for field, column in found.items()]
    rest = [name for name in table.columns if name and name not in found.values()]
    absent = [field for field in REQUEST_FIELDS[:6] if field not in with_other_names(found)]
    maps = options_for(near(table.columns, found))
    parts = [f"reads {', '.join(read)}"]
    parts += [f"not in the file: {', '.join(absent)}"] if absent else []
    parts += [f"not read: {shown(', '.join(rest), 300)}"] if rest else []
    parts += [f"to read them: {maps}"] if maps else []
    parts += [table.note] if table.note else []
    return "; ".join(parts)


def requests_of(rows: Iterable[Cells], columns: Columns) -> Iterator[Cells | Refusal]:
    """Each row's request, or why there is none."""
    for row in rows:
        try:
            wrong: Any = row.get(None)  # type: ignore[call-overload]
            yield Refusal(wrong) if wrong else columns.video(row)
        except ValueError as exc:
            yield Refusal(str(exc))
