"""Files of rows: CSV, JSON Lines and Parquet, read from the front as often as needed."""

import csv
import gzip
import itertools
import json
import math
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import IO, Any

from miles_client.files.results import RESULTS, typed
from miles_client.names import field_like
from miles_client.settings import SettingError, shown

Cells = dict[str, Any]
BROKEN_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
WORKBOOK = "a workbook or another archive; save it as CSV (UTF-8) first"
# The first bytes of files that are not text.
NOT_TEXT = {
    **dict.fromkeys((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"), WORKBOOK),
    b"\x1f\x8b": "compressed with gzip; its name must end in .gz",
    **dict.fromkeys((b"BZh", b"\xfd7zX", b"(\xb5/\xfd"), "compressed, but not with gzip; unpack it first"),
    b"PAR1": "a Parquet file; its name must end in .parquet",
}


class Table(ABC):
    """A file of rows, read from the front as often as needed."""

    columns: list[str]
    note = ""
    """How the file is read, if not in the default way."""

    @abstractmethod
    def rows(self) -> Iterator[Cells]:
        """Each row by column name; a malformed row has one key, None, with the reason."""

    @abstractmethod
    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Write this table with the columns `names` appended."""


def opened_text(path: Path, mode: str, encoding: str) -> IO[str]:
    """A text file, compressed if its name ends in .gz; characters that its encoding lacks are escaped."""
    errors = "backslashreplace" if mode == "w" else "strict"
    if is_gzip(path):
        compressed: Any = gzip.open(path, f"{mode}t", encoding=encoding, errors=errors, newline="")  # noqa: SIM115
        return compressed  # type: ignore[no-any-return]
    return path.open(mode, encoding=encoding, errors=errors, newline="")


def is_gzip(path: Path) -> bool:
    """Whether a file's name ends in .gz."""
    return path.suffix.lower() == ".gz"


def start_of(path: Path) -> bytes:
    """The first four bytes, decompressed if the name ends in .gz."""
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as opened:
            return opened.read(4)
    except BROKEN_GZIP as exc:
        raise SettingError(f"{path}: not a whole gzip file ({exc}); is .gz the right ending?") from exc


def encoding_of(path: Path, encoding: str) -> str:
    """The encoding that a byte order mark names, else `encoding`; raises `SettingError` for a binary file."""
    start = start_of(path)
    if what := next((what for begun, what in NOT_TEXT.items() if start.startswith(begun)), None):
        raise SettingError(f"{path}: {what}")
    if encoding != "utf-8":
        return encoding
    if start[:3] == b"\xef\xbb\xbf":
        return "utf-8-sig"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in start:  # UTF-8 text has none
        order = "be" if start[:1] == b"\0" else "le"
        raise SettingError(
            f"{path}: not utf-8; if it is UTF-16 without a byte order mark, add --encoding utf-16-{order}"
        )
    return encoding


class CsvTable(Table):
    """A CSV file; cells are passed on unchanged, empty ones as null."""

    def __init__(self, path: Path, delimiter: str | None, encoding: str) -> None:
        csv.field_size_limit(2**31 - 1)  # a cell may hold a whole image as a data: URL
        self._path, self._encoding = path, encoding_of(path, encoding)
        self._separator_line = ""
        """Excel's first line `sep=;`, which names the delimiter."""
        found = self._found_delimiter()
        self._delimiter = delimiter or found
        self.columns = [cell.strip() for cell in next(self._lines(), [])]
        self._width = len(self.columns)
        """The number of cells in the longest line read so far."""
        if self._delimiter != ",":
            self.note = f"the delimiter is {self._delimiter!r} (--delimiter sets another)"

    def _found_delimiter(self) -> str:
        """The one of , ; tab and | that gives the most columns with a field's name, then the most columns."""
        try:
            with opened_text(self._path, "r", self._encoding) as opened:
                line = next((line for line in opened if line.strip()), "")
        except UnicodeDecodeError as exc:
            raise self._not_text(exc) from exc
        if named := re.fullmatch(r'"?sep=(.)"?\s*', line):
            self._separator_line = line
            return named[1]

        def columns(delimiter: str) -> tuple[int, int]:
            cells = next(csv.reader([line], delimiter=delimiter), [])
            return sum(field_like(cell) is not None for cell in cells), len(cells)

        return max(",;\t|", key=columns)

    def _not_text(self, exc: UnicodeDecodeError) -> SettingError:
        return SettingError(
            f"{self._path}: not {self._encoding} ({exc.reason}); set --encoding, such as cp1252 or utf-16"
        )

    def _lines(self) -> Iterator[list[str]]:
        with opened_text(self._path, "r", self._encoding) as opened:
            reader = csv.reader(opened, delimiter=self._delimiter, strict=True)
            try:
                opened.readline(len(self._separator_line))
                yield from (cells for cells in reader if cells)
            except UnicodeDecodeError as exc:
                raise self._not_text(exc) from exc
            except (csv.Error, *BROKEN_GZIP) as exc:
                raise SettingError(f"{self._path}: line {reader.line_num}: {exc}") from exc

    def rows(self) -> Iterator[Cells]:
        """Each line after the header; lines of the wrong length are reported, not guessed at.

        Cells of columns without a name may be absent, and empty cells after the last column are ignored.
        """
        named = max((place for place, name in enumerate(self.columns, 1) if name), default=0)
        for cells in itertools.islice(self._lines(), 1, None):
            self._width = max(self._width, len(cells))
            if len(cells) < named or any(cell.strip() for cell in cells[len(self.columns) :]):
                yield {None: f"{len(cells)} cells, the header has {len(self.columns)}"}  # type: ignore[dict-item]
            else:
                yield {name: cell.strip() and cell for name, cell in zip(self.columns, cells, strict=False)}

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Cells unchanged; short lines, and the header, are padded so that results land in their columns."""
        with opened_text(path, "w", self._encoding) as opened:
            opened.write(self._separator_line)
            writer = csv.writer(opened, delimiter=self._delimiter, lineterminator="\n")
            writer.writerow([*padded(self.columns, self._width), *names])
            for cells, result in zip(itertools.islice(self._lines(), 1, None), results, strict=False):
                writer.writerow([*padded(cells, self._width), *result])


def padded(cells: Sequence[str], width: int) -> list[str]:
    """The cells, followed by empty ones up to `width`."""
    return [*cells, *[""] * (width - len(cells))]


class JsonLines(Table):
    """A file with a JSON object in each line."""

    def __init__(self, path: Path) -> None:
        self._path, self._encoding = path, encoding_of(path, "utf-8")
        self.columns = list(dict.fromkeys(name for row in self.rows() for name in row if name is not None))

    def _lines(self) -> Iterator[str]:
        try:
            with opened_text(self._path, "r", self._encoding) as opened:
                yield from (line for line in opened if line.strip())
        except (UnicodeDecodeError, *BROKEN_GZIP) as exc:
            raise SettingError(f"{self._path}: {exc}") from exc

    def rows(self) -> Iterator[Cells]:
        """Each object; any other line is reported as malformed."""
        for line in self._lines():
            try:
                row = json.loads(line)
                yield row if isinstance(row, dict) else {None: f"not an object: {shown(line.strip())}"}  # type: ignore[dict-item]
            except (ValueError, RecursionError) as exc:
                yield {None: f"not JSON: {exc}"}  # type: ignore[dict-item]

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Objects with the results added; a malformed line becomes an object with its error."""
        with opened_text(path, "w", "utf-8") as opened:
            for row, result in zip(self.rows(), results, strict=False):
                values = map(typed, result, RESULTS.values())
                kept = {name: value for name, value in row.items() if name is not None}
                whole = kept | dict(zip(names, values, strict=True))
                # The file escapes half a surrogate pair, which UTF-8 cannot hold, in the same way as JSON.
                opened.write(json.dumps(whole, ensure_ascii=False) + "\n")


class ParquetTable(Table):
    """A Parquet file, a thousand rows at a time."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow.parquet
        except ImportError as exc:
            raise SettingError(f"{path}: Parquet needs pyarrow: pip install pyarrow") from exc
        self._arrow, self._path = pyarrow, path
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as exc:
            raise SettingError(f"{path}: {shown(exc, 300)}") from exc
        self.columns = list(self._file.schema_arrow.names)

    def rows(self) -> Iterator[Cells]:
        """Each row."""
        try:
            for batch in self._file.iter_batches(1000):
                yield from self._rows_of(batch)
        except (self._arrow.ArrowException, OSError) as exc:
            raise SettingError(f"{self._path}: {shown(exc, 300)}") from exc

    def _rows_of(self, batch: Any) -> list[Cells]:
        try:
            found: list[Cells] = batch.to_pylist()
        except (ValueError, OverflowError):  # a cell that Python cannot hold: nanoseconds, the year 10000
            columns = [[self._cell(scalar) for scalar in column] for column in batch.columns]
            found = [dict(zip(self.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]
        return found

    def _cell(self, scalar: Any) -> Any:
        try:
            return scalar.as_py()
        except (ValueError, OverflowError):
            arrow = self._arrow
            is_time = arrow.types.is_temporal(scalar.type)
            return scalar.cast(arrow.string() if is_time else arrow.binary()).as_py()

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Input columns keep their types; figures are float64, in_range is boolean, the rest is text."""
        arrow = self._arrow
        types = {float: arrow.float64(), bool: arrow.bool_(), str: arrow.string()}
        kinds = [types[kind] for kind in RESULTS.values()]
        fields = [arrow.field(name, kind) for name, kind in zip(names, kinds, strict=True)]
        schema = arrow.schema([*self._file.schema_arrow, *fields])
        with arrow.parquet.ParquetWriter(path, schema) as writer:
            for batch in self._file.iter_batches(1000):
                some = list(itertools.islice(results, batch.num_rows))
                batch = batch.slice(0, len(some))
                cells = zip(*some, strict=True) if some else [()] * len(kinds)
                columns = [
                    arrow.array([typed(cell, kind) for cell in column], arrow_kind)
                    for column, kind, arrow_kind in zip(cells, RESULTS.values(), kinds, strict=True)
                ]
                writer.write_batch(arrow.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema))


def json_value(value: Any) -> Any:
    """A value of a file as a JSON value: dates as ISO 8601, durations in seconds, NaN as null."""
    if isinstance(value, date):  # datetime included
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)  # the service refuses it, for this row only
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def kind_of(path: Path) -> str:
    """A file's kind by its name: csv, jsonl or parquet."""
    suffix = (path.with_suffix("") if is_gzip(path) else path).suffix.lower()
    return {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(suffix, "csv")


def opened_table(path: Path, delimiter: str | None, encoding: str) -> Table:
    """Open the file; raises `SettingError` when it is not a readable table."""
    if not path.is_file():
        is_pipe = path.exists() or str(path) == "-"
        what = "not a file; it is read twice, so save it first" if is_pipe else "no such file"
        raise SettingError(f"{path}: {what}")
    if path.suffix.lower() == ".json":
        raise SettingError(
            f"{path}: write one object per line, in a file that ends in .jsonl: jq -c '.[]' {path}"
        )
    kind = kind_of(path)
    table: Table
    if kind == "parquet":
        table = ParquetTable(path)
    else:
        table = JsonLines(path) if kind == "jsonl" else CsvTable(path, delimiter, encoding)
    if not any(table.columns):
        expected = "an object in each line" if kind == "jsonl" else "a header with column names"
        raise SettingError(f"{path}: empty, expected {expected}")
    return table
