"""Tables that are read a part at a time: CSV files and Parquet files, or folders of them.

A part is found again by where it stands, so that any worker on any machine that sees the file reads the same
rows, and no row that comes before them.
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

BIGGEST_CELL = 16 * 1024 * 1024  # as the service's largest request; an open quote swallows no more than this
Cells = dict[str, Any]


class Malformed(str):
    """Why a row could not be read as one."""


class Table(ABC):
    """Rows that are found again, part by part; goes to the workers."""

    schema: pa.Schema

    @property
    @abstractmethod
    def digest(self) -> str:
        """What says that the rows are the same as before."""

    @abstractmethod
    def parts(self, size: int) -> Iterator[Part]:
        """Every part of `size` rows, or fewer."""

    @abstractmethod
    def rows(self, part: Part, names: Sequence[str]) -> Iterator[Cells | Malformed]:
        """The rows of a part, with the columns `names`."""


class Files(Table):
    """Files of one form, in the order of their names."""

    suffix: str

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files
        self.schema = self._schema_of(files[0])
        for other in files[1:]:
            if self._schema_of(other).names != self.schema.names:
                raise JobError(f"{other}: its columns are not those of {files[0]}: {self.schema.names}")

    def __str__(self) -> str:
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)

    @property
    def digest(self) -> str:
        """What says that the files are the same as before."""
        return digest_of(self.files)

    def parts(self, size: int) -> Iterator[Part]:
        """Every part of `size` rows; the last one of a file may be smaller."""
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
    """UTF-8 with a header; an empty cell is null. Reading it once finds where the parts begin."""

    suffix = ".csv"

    def rows(self, part: Part, names: Sequence[str]) -> Iterator[Cells | Malformed]:
        """Of a line that is too long or too short nothing is guessed."""
        width, wanted = len(self.schema.names), set(names)
        for cells, _ in _lines(Path(part.path), part.start, part.stop):
            if len(cells) != width:
                yield Malformed(f"{len(cells)} cells, the header has {width}")
            elif any(not cell.isascii() and _is_broken(cell) for cell in cells):
                yield Malformed("not UTF-8")
            else:
                pairs = zip(self.schema.names, cells, strict=True)
                yield {name: cell or None for name, cell in pairs if name in wanted}

    def _schema_of(self, path: Path) -> pa.Schema:
        header, _ = next(_lines(path, 0, None), ([], 0))
        names = [name.removeprefix("\ufeff") for name in header]
        if not names or len(set(names)) < len(names):
            raise JobError(f"{path}: the header is empty or names a column twice: {names}")
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
    """Each row between two places of a file, and where it ends; empty lines are none."""
    csv.field_size_limit(BIGGEST_CELL)
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
            raise JobError(f"{path}: before byte {place}: {exc}. Is a quote never closed?") from exc


def _is_broken(cell: str) -> bool:
    return any("\udc80" <= letter <= "\udcff" for letter in cell)


class ParquetTable(Files):
    """Parquet; a part never spans two row groups."""

    suffix = ".parquet"

    def rows(self, part: Part, names: Sequence[str]) -> Iterator[Cells | Malformed]:
        """Values as JSON would have them: what is no number is null."""
        with pq.ParquetFile(part.path) as opened:
            before = 0
            for batch in opened.iter_batches(part.rows, row_groups=[part.start], columns=list(names)):
                mine = batch.slice(max(part.stop - before, 0), part.stop + part.rows - before)
                before += batch.num_rows
                for row in mine.to_pylist() if before > part.stop else ():
                    yield {name: plain(value) for name, value in row.items()}
                if before >= part.stop + part.rows:
                    return

    def _schema_of(self, path: Path) -> pa.Schema:
        try:
            return pq.read_schema(path)
        except pa.ArrowException as exc:
            raise JobError(f"{path}: is no Parquet file: {exc}") from exc

    def _spans(self, path: Path, size: int) -> Iterator[tuple[int, int, int]]:
        about = pq.read_metadata(path)
        for group in range(about.num_row_groups):
            total = about.row_group(group).num_rows
            for before in range(0, total, size):
                yield min(size, total - before), group, before


def plain(value: Any) -> Any:
    """What JSON has no number for is null."""
    return None if isinstance(value, float) and math.isnan(value) else value


def opened_table(path: Path) -> Table:
    """The table at `path`, a file or a folder of files. Raises `JobError`."""
    for kind in (CsvTable, ParquetTable):
        files = sorted(path.glob(f"[!._]*{kind.suffix}")) if path.is_dir() else [path]
        files = [file for file in files if file.suffix == kind.suffix and file.is_file()]
        if files:
            return kind(files)
    raise JobError(f"{path}: no CSV or Parquet file, nor a folder of either (.csv, .parquet)")


def as_json(row: Cells) -> str:
    """A row for people, no longer than they read."""
    return json.dumps(row, default=str, ensure_ascii=True)[:10_000]
