"""Inputs that are read part by part: CSV and Parquet files, or folders of them.

A part records its position in the file, so that any worker can read it without the rows before it.
"""

import csv
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deploy.score_dataset.job import JobError, Part, digest_of

MAX_CELL_BYTES = 16 * 1024 * 1024  # the service's largest request; limits what an unclosed quote can read
Cells = dict[str, Any]


class Malformed(str):
    """The reason why a row cannot be read."""


class Table(ABC):
    """An input that is split into parts; sent to the workers."""

    schema: pa.Schema

    @property
    @abstractmethod
    def digest(self) -> str:
        """Changes when the rows change."""

    @abstractmethod
    def parts(self, size: int) -> Iterator[Part]:
        """The parts, of at most `size` rows each."""

    @abstractmethod
    def rows(self, part: Part, names: Sequence[str]) -> Iterator[Cells | Malformed]:
        """The columns `names` of a part's rows."""


class Files(Table):
    """Files of one format, sorted by name."""

    suffix: str

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.schema = self._schema_of(files[0])
        for other in files[1:]:
            if self._schema_of(other).names != self.schema.names:
                raise JobError(f"{other}: its columns differ from those of {files[0]}: {self.schema.names}")

    def __str__(self) -> str:
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)

    @property
    def digest(self) -> str:
        """Changes when a file's name, size or modification time changes."""
        return digest_of(self.files)

    def parts(self, size: int) -> Iterator[Part]:
        """The parts, of `size` rows each except the last of a file."""
        number = row = 0
        for path in self.files:
            for rows, start, stop in self._spans(path, size):
                yield Part(number, row, rows, str(path), start, stop)
                number, row = number + 1, row + rows

    @abstractmethod
    def _schema_of(self, path: Path) -> pa.Schema: ...

    @abstractmethod
    def _spans(self, path: Path, size: int) -> Iterator[tuple[int, int, int]]: ...


class CsvTable(Files):
    """CSV in UTF-8 with a header; an empty cell is null. One pass finds the parts."""

    suffix = ".csv"

    def rows(self, part: Part, names: Sequence[str]) -> Iterator[Cells | Malformed]:
        """Rows with the wrong number of cells, or not in UTF-8, are `Malformed`."""
        width, wanted = len(self.schema.names), set(names)
        for cells, _ in _lines(Path(part.path), part.start, part.stop):
            if len(cells) != width:
                yield Malformed(f"{len(cells)} cells, but the header has {width}")
            elif any(not cell.isascii() and _has_surrogates(cell) for cell in cells):
                yield Malformed("not UTF-8")
            else:
                pairs = zip(self.schema.names, cells, strict=True)
                yield {name: cell or None for name, cell in pairs if name in wanted}

    def _schema_of(self, path: Path) -> pa.Schema:
        header, _ = next(_lines(path, 0, None), ([], 0))
        names = [name.removeprefix("\ufeff") for name in header]
        if not names or len(set(names)) < len(names):
            raise JobError(f"{path}: the header is empty or contains a name twice: {names}")
        return pa.schema([(name, pa.string()) for name in names])

    def _spans(self, path: Path, size: int) -> Iterator[tuple[int, int, int]]:
        lines = _lines(path, 0, None)
        _, start = next(lines)
        rows, stop = 0, start
        for _, stop in lines:
            rows += 1
            if rows == size:
                yield rows, start, stop
                rows, start = 0, stop
        if rows:
            yield rows, start, stop


def _lines(path: Path, start: int, stop: int | None) -> Iterator[tuple[list[str], int]]:
    """Each row between two byte offsets, and the offset of its end; empty lines are skipped."""
    csv.field_size_limit(MAX_CELL_BYTES)
    with path.open("rb") as opened:
        opened.seek(start)
        place = start

        def texts() -> Iterator[str]:
            nonlocal place
            for line in opened:
                if stop is not None and place >= stop:
                    return
                place += len(line)
                yield line.decode("utf-8", "surrogateescape")

        try:
            yield from ((cells, place) for cells in csv.reader(texts()) if cells)
        except csv.Error as exc:
            raise JobError(f"{path}: before byte {place}: {exc}. Is a quote not closed?") from exc


def _has_surrogates(cell: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in cell)


class ParquetTable(Files):
    """Parquet; a part lies within one row group."""

    suffix = ".parquet"

    def rows(self, part: Part, names: Sequence[str]) -> Iterator[Cells | Malformed]:
        """The rows as JSON values; NaN becomes null."""
        with pq.ParquetFile(part.path) as opened:
            before = 0
            for batch in opened.iter_batches(part.rows, row_groups=[part.start], columns=list(names)):
                mine = batch.slice(max(part.stop - before, 0), part.stop + part.rows - before)
                before += batch.num_rows
                for row in mine.to_pylist() if before > part.stop else ():
                    yield {name: null_if_nan(value) for name, value in row.items()}
                if before >= part.stop + part.rows:
                    return

    def _schema_of(self, path: Path) -> pa.Schema:
        try:
            return pq.read_schema(path)
        except pa.ArrowException as exc:
            raise JobError(f"{path}: is not a Parquet file: {exc}") from exc

    def _spans(self, path: Path, size: int) -> Iterator[tuple[int, int, int]]:
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            total = metadata.row_group(group).num_rows
            for before in range(0, total, size):
                yield min(size, total - before), group, before


def null_if_nan(value: Any) -> Any:
    """NaN, which JSON cannot represent, as None."""
    return None if isinstance(value, float) and math.isnan(value) else value


def opened_table(path: Path) -> Table:
    """The file or folder at `path`. Raises `JobError`."""
    for kind in (CsvTable, ParquetTable):
        files = sorted(path.glob(f"[!._]*{kind.suffix}")) if path.is_dir() else [path]
        files = [file for file in files if file.suffix == kind.suffix and file.is_file()]
        if files:
            return kind(files)
    absent = "" if path.exists() else "no such file or folder; "
    raise JobError(f"{path}: {absent}expected a .csv or .parquet file, or a folder of either")


def as_json(row: Cells) -> str:
    """A row as JSON, cut off after 10,000 characters."""
    return json.dumps(row, default=str, ensure_ascii=True)[:10_000]
