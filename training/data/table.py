"""The one reader of training files: CSV, gzipped CSV or Parquet as numbered rows of text cells.

Rows are numbered as in the file's usual viewer: a spreadsheet's header is row 1, a Parquet file's first row
is 1. Every cell becomes text, so that a number means the same in either format. Needs no torch, and pyarrow
only for Parquet.
"""

import codecs
import csv
import gzip
import hashlib
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

GZIP_MAGIC = b"\x1f\x8b"
PARQUET_MAGIC = b"PAR1"
DELIMITERS = (",", ";", "\t", "|")
STATED_DELIMITER = re.compile(r"sep=(.)\r?\n")  # a line for Excel, which does not show it
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # Excel's "Unicode text"
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx, which is a zip archive, and .xls
# Far above any description (10,000 characters of up to four bytes), below what an unclosed quote swallows.
csv.field_size_limit(10_000_000)


class DatasetError(ValueError):
    """A data file that cannot be used: names the file, the row or column, and what was expected."""


@dataclass(frozen=True)
class Table:
    """A file's columns, and its rows as (number, cells).

    A row may have more or fewer cells than the header.
    """

    path: Path
    sha256: str
    columns: tuple[str, ...]
    rows: Iterator[tuple[int, Sequence[str]]]
    has_decimal_commas: bool = False
    """Whether one half is written 0,5, as by programs that separate cells with semicolons."""

    def position(self, column: str) -> int:
        """The index of `column`. Raises `DatasetError` if the file has it twice."""
        if self.columns.count(column) > 1:
            raise DatasetError(f"{self.path}: has two columns called {column}; remove or rename one")
        return self.columns.index(column)


def read_table(path: Path) -> Table:
    """The file at `path`; its first bytes decide the format. Raises `DatasetError`."""
    try:
        encoded = path.read_bytes()
    except OSError as exc:
        raise DatasetError(
            f"{path}: cannot be read ({exc.strerror}); expected a CSV, CSV.gz or Parquet file"
        ) from exc
    digest = hashlib.sha256(encoded).hexdigest()
    if encoded.startswith(PARQUET_MAGIC):
        return _parquet(path, encoded, digest)
    return _csv(path, encoded, digest)


def _csv(path: Path, encoded: bytes, digest: str) -> Table:
    try:
        content = gzip.decompress(encoded) if encoded.startswith(GZIP_MAGIC) else encoded
        if content.startswith(WORKBOOKS):
            raise ValueError("it is an Excel workbook or an archive")
        text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except (OSError, EOFError, ValueError) as exc:
        raise DatasetError(
            f"{path}: is not a CSV in UTF-8, a CSV.gz or a Parquet file ({exc}). Save it as CSV UTF-8."
        ) from exc
    first_line = text.partition("\n")[0]
    if stated := STATED_DELIMITER.match(text):
        text = text[stated.end() :]
    delimiter = stated[1] if stated else _delimiter(first_line)
    rows = _csv_rows(path, csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter))
    _, header = next(rows, (1, []))
    names = tuple(name.strip() for name in header)
    return Table(path, digest, names, rows, has_decimal_commas=delimiter == ";")


def _delimiter(header: str) -> str:
    """The delimiter of a header line: the most frequent of the usual ones, or else a comma."""
    return max(DELIMITERS, key=header.count)


def _csv_rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, Sequence[str]]]:
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            raise DatasetError(
                f"{path}: row {number}: is not CSV ({exc}); save it again with commas and double quotes"
            ) from exc
        if cells:  # an empty line is not a row
            yield number, cells


def _parquet(path: Path, encoded: bytes, digest: str) -> Table:
    try:
        import pyarrow  # lazily: only a training installation has it
        from pyarrow import parquet
    except ImportError as exc:
        raise DatasetError(f"{path}: Parquet needs pyarrow; install requirements.txt, or use a CSV") from exc
    try:
        table = parquet.read_table(pyarrow.BufferReader(encoded))
        columns = [_column(table.column(index)) for index in range(table.num_columns)]
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as exc:
        first = next(iter(str(exc).splitlines()), type(exc).__name__)
        raise DatasetError(f"{path}: cannot be read as Parquet ({first}); write it again") from exc
    rows = enumerate(zip(*columns, strict=True), 1)
    return Table(path, digest, tuple(table.column_names), rows)


def _column(column: Any) -> list[str]:
    """A column's cells as text; Python's times end at microseconds, so nanoseconds are cut off."""
    import pyarrow

    if pyarrow.types.is_timestamp(column.type):
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    return [as_text(value) for value in column.to_pylist()]


def as_text(value: object) -> str:
    """A Parquet value as a CSV would hold it; empty for null and NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():  # a column of integers with a null in it
        return str(int(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
