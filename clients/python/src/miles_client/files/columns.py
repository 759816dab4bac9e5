"""Which column each field of a request is read from, and how cells are read."""

import dataclasses
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from miles_client.files.tables import Cells, Table, json_value
from miles_client.service import Refusal
from miles_client.settings import SettingError, shown

NUMBERS = (
    *("view_count", "like_count", "comment_count", "share_count", "save_count"),
    *("previous_view_count", "duration_seconds", "duration", "completion_rate", "creator_avg_views"),
)
TIMES = ("published_at", "upload_date", "observed_at", "scraped_at", "previous_observed_at")
TEXTS = ("title", "description", "thumbnail_url", "thumbnail")
FIELDS = (*TEXTS[:3], *NUMBERS, *TIMES, *TEXTS[3:])
# Other names of fields, without signs and in lower case: they are proposed, never guessed.
NEAR = {
    **dict.fromkeys(("views", "viewcount", "plays", "playcount", "viewscount", "numviews"), "view_count"),
    **dict.fromkeys(("likes", "likecount", "diggcount", "numlikes"), "like_count"),
    **dict.fromkeys(("comments", "commentcount", "numcomments"), "comment_count"),
    **dict.fromkeys(("shares", "sharecount"), "share_count"),
    **dict.fromkeys(("saves", "savecount", "collectcount"), "save_count"),
    **dict.fromkeys(("headline", "videotitle", "name"), "title"),
    **dict.fromkeys(("desc", "caption"), "description"),
    **dict.fromkeys(("thumbnailurl", "thumb", "thumbnails", "cover"), "thumbnail_url"),
    **dict.fromkeys(("durationsec", "durationseconds", "lengthseconds", "length"), "duration_seconds"),
    **dict.fromkeys(("publishedat", "publishtime", "publishdate", "uploaddate", "timestamp"), "published_at"),
    **dict.fromkeys(("observedat", "scrapedat", "crawledat"), "observed_at"),
    **dict.fromkeys(("previousviewcount", "previousviews", "prevviewcount"), "previous_view_count"),
    **dict.fromkeys(("previousobservedat", "previousscrapedat"), "previous_observed_at"),
}
BARE = {field.replace("_", ""): field for field in FIELDS} | NEAR
NULLS = ("n/a", "na", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "\\n")
SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)\s?([KMB])(?:\s+[a-z]+)?", re.IGNORECASE)
FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9}


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
        if not isinstance(cell, str):
            return json_value(cell)
        text = cell.strip()
        if field in TEXTS:
            return None if field != "title" and text in self.nulls else cell
        if text in self.nulls or text.lower() in NULLS:
            self.unknown[text] += 1
            return None
        if field not in NUMBERS or (found := SUFFIXED.fullmatch(text)) is None:
            return text  # which the service reads
        if not self.suffixes:
            raise ValueError(f"{field}: {text!r} is rounded; add --suffixes to read it as a number")
        return round(float(found[1]) * FACTORS[found[2].upper()])


def mapping(table: Table, named: Sequence[str], *, thumbnails: bool) -> dict[str, str]:
    """Map request fields to columns; raises `SettingError` for an unknown field or column.

    It does so, too, if there is no view count but a column that looks like one: all rows would have 0 views.
    """
    found = {field: field for field in FIELDS if field in table.columns}
    without = set()
    for pair in named:
        field, _, column = pair.partition("=")
        if field not in FIELDS or (column and column not in table.columns):
            raise SettingError(
                f"--map {pair}: expected FIELD=COLUMN with a field of {', '.join(FIELDS)} "
                f"and a column of {shown(table.columns, 300)}"
            )
        if column:
            found[field] = column
        else:
            found.pop(field, None)
            without.add(field)
    twice = [column for column in found.values() if table.columns.count(column) > 1]
    if twice:
        raise SettingError(f"the header has {', '.join(twice)} more than once: rename all but one of them")
    maps = options_for(near(table, found))
    if "title" not in found:
        proposed = maps if "--map title=" in maps else f"--map title=COLUMN {maps}".strip()
        raise SettingError(f"no column `title` in {shown(table.columns, 300)}; add {proposed}")
    if "view_count" not in found and "--map view_count=" in maps and "view_count" not in without:
        raise SettingError(
            f"no column `view_count` in {shown(table.columns, 300)}; add {maps}, "
            "or --map view_count= to score without views"
        )
    if not thumbnails:
        found = {field: column for field, column in found.items() if not field.startswith("thumbnail")}
    return found


def near(table: Table, found: Mapping[str, str]) -> dict[str, str]:
    """Columns that look like fields which are not read, by field."""
    looks = {BARE.get(re.sub(r"[\W_]", "", name.lower())): name for name in table.columns}
    return {
        field: name
        for field, name in looks.items()
        if field and field not in found and name not in found.values()
    }


def options_for(columns: Mapping[str, str]) -> str:
    """The options that read these columns, as they are typed in a shell."""
    return " ".join(f"--map {shlex.quote(f'{field}={column}')}" for field, column in columns.items())


def overview(table: Table, found: Mapping[str, str]) -> str:
    """Which columns are read and which are not, with the options that would read them."""
    read = [field if field == column else f"{field} (from {column})" for field, column in found.items()]
    rest = [name for name in table.columns if name and name not in found.values()]
    absent = [field for field in FIELDS[:6] if field not in found]
    maps = options_for(near(table, found))
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
