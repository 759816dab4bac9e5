#!/usr/bin/env python3
"""Scores a CSV or Parquet file of videos through a running Miles, one row of results for each row.

    python score_csv.py videos.csv                       writes videos.scored.csv
    python score_csv.py videos.parquet scored.parquet    needs pyarrow
    python score_csv.py export.csv --map title=Headline --map view_count=Plays --thumbnails none

Columns are matched by the names of a request's fields (title, description, thumbnail_url, view_count, ...);
use `--map` for other names. The output has all rows and columns of the input in the same order, plus
viral_score, predicted_velocity, confidence, model_version and error (why a row has no score).

Finished rows are kept in `OUTPUT.part`. After an interruption, run the same command again: it continues where
it stopped and scores no row twice. Neither file is ever held in memory.

Needs requests and, in the same folder, trigger_inference.py, whose client it uses. INFERENCE_API_URL (or
--url) and MILES_API_KEY come from the environment or `.env`.

Exit codes: 0 all rows scored; 1 some rows have an error instead; 2 invalid setting or file; 3 the service did
not answer, run it again later; 130 and 143 stopped by SIGINT or SIGTERM, run it again to continue.
"""

import argparse
import csv
import hashlib
import itertools
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from trigger_inference import (
    DONE,
    NO_SERVICE,
    ROWS_LEFT,
    TRIES,
    WAITS_S,
    WRONG_SETTING,
    NoAnswer,
    Patience,
    Refusal,
    Score,
    Service,
    SettingError,
    Stopped,
    StopSignals,
    Unavailable,
    opened_service,
    settings,
    shown,
)

RESULTS = ("viral_score", "predicted_velocity", "confidence", "model_version", "error")
FIELDS = (
    *("title", "description", "thumbnail_url", "view_count", "like_count", "comment_count"),
    *("duration_seconds", "published_at", "upload_date", "observed_at", "scraped_at"),
    *("share_count", "save_count", "completion_rate", "creator_avg_views"),
)
PROGRESS_INTERVAL_S = 5.0  # between progress lines when there is no terminal
Cells = dict[str, Any]


class Table(ABC):
    """A file of rows, read from the front as often as needed."""

    columns: list[str]

    @abstractmethod
    def rows(self) -> Iterator[Cells]:
        """Each row by column name; a malformed row has one key, None, with the reason."""

    @abstractmethod
    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Write this table with the columns `names` appended."""


class CsvTable(Table):
    """A CSV file; cells are passed on unchanged, empty ones as null."""

    def __init__(self, path: Path, delimiter: str, encoding: str) -> None:
        csv.field_size_limit(2**31 - 1)  # a cell may hold a whole picture as data:
        self._path, self._delimiter = path, delimiter
        with path.open("rb") as start:
            has_mark = start.read(3) == b"\xef\xbb\xbf"
        self._encoding = "utf-8-sig" if has_mark and encoding == "utf-8" else encoding
        self.columns = next(self._lines(), [])

    def _lines(self) -> Iterator[list[str]]:
        with self._path.open(encoding=self._encoding, newline="") as opened:
            try:
                yield from (cells for cells in csv.reader(opened, delimiter=self._delimiter) if cells)
            except UnicodeDecodeError as exc:
                raise SettingError(
                    f"{self._path}: not {self._encoding} ({exc.reason}); set --encoding"
                ) from exc
            except csv.Error as exc:
                raise SettingError(f"{self._path}: {exc}") from exc

    def rows(self) -> Iterator[Cells]:
        """Each line after the header; lines of the wrong length are reported, not guessed at."""
        for cells in itertools.islice(self._lines(), 1, None):
            if len(cells) == len(self.columns):
                yield {name: cell or None for name, cell in zip(self.columns, cells, strict=True)}
            else:
                yield {None: f"{len(cells)} cells, the header has {len(self.columns)}"}  # type: ignore[dict-item]

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Cells unchanged; short lines are padded so that results land in their columns."""
        with path.open("w", encoding=self._encoding, newline="") as opened:
            writer = csv.writer(opened, delimiter=self._delimiter, lineterminator="\n")
            writer.writerow([*self.columns, *names])
            lines = itertools.islice(self._lines(), 1, None)
            for cells, result in zip(lines, results, strict=True):
                writer.writerow([*cells, *[""] * (len(self.columns) - len(cells)), *result])


class ParquetTable(Table):
    """A Parquet file, a thousand rows at a time."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow.parquet
        except ImportError as exc:
            raise SettingError(f"{path}: Parquet needs pyarrow: pip install pyarrow") from exc
        self._arrow = pyarrow
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except pyarrow.ArrowException as exc:
            raise SettingError(f"{path}: {exc}") from exc
        self.columns = list(self._file.schema_arrow.names)

    def rows(self) -> Iterator[Cells]:
        """Each row; dates as ISO 8601, NaN as null."""
        for batch in self._file.iter_batches(1000):
            for row in batch.to_pylist():
                yield {name: json_value(value) for name, value in row.items()}

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Input columns keep their types; scores are float64, the rest is text."""
        arrow = self._arrow
        kinds = [arrow.float64() if name in RESULTS[:3] else arrow.string() for name in RESULTS]
        fields = [arrow.field(name, kind) for name, kind in zip(names, kinds, strict=True)]
        schema = arrow.schema([*self._file.schema_arrow, *fields])
        with arrow.parquet.ParquetWriter(path, schema) as writer:
            for batch in self._file.iter_batches(1000):
                some = list(itertools.islice(results, batch.num_rows))
                columns = [
                    arrow.array([_typed(row[index], kind == arrow.float64()) for row in some], kind)
                    for index, kind in enumerate(kinds)
                ]
                writer.write_batch(arrow.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema))


def json_value(value: Any) -> Any:
    """A Parquet value as a JSON value."""
    if isinstance(value, date):  # datetime included
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _typed(cell: str, is_number: bool) -> float | str | None:
    if not cell:
        return None
    return float(cell) if is_number else cell


class Finished:
    """`OUTPUT.part`: the first line identifies the job, each other line holds a finished row's results."""

    def __init__(self, path: Path, purpose: Mapping[str, Any]) -> None:
        self.path, first = path, json.dumps(purpose, sort_keys=True).encode() + b"\n"
        if not path.exists():
            path.write_bytes(first)
        with path.open("r+b") as opened:
            if opened.readline() != first:
                raise SettingError(
                    f"{path} belongs to another input or to other options: remove it to start over"
                )
            whole = len(first)
            self.count = 0
            for line in opened:
                if line.endswith(b"\n"):  # the last one may have been cut off
                    whole += len(line)
                    self.count += 1
            opened.truncate(whole)

    def add(self, results: Iterable[Sequence[str]]) -> None:
        """Append finished rows; they are on disk when this returns."""
        with self.path.open("a", encoding="utf-8", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows(results)
            opened.flush()
            os.fsync(opened.fileno())

    def results(self) -> Iterator[list[str]]:
        """All of them, in the input's order."""
        with self.path.open(encoding="utf-8", newline="") as opened:
            yield from itertools.islice(csv.reader(opened), 1, None)


class Scoring:
    """Scores each video of a batch, or finds out why it can't be scored, retrying as needed."""

    def __init__(self, service: Service, patience: Patience, stop: StopSignals, progress: "Progress") -> None:
        self._service, self._patience, self._stop, self._progress = service, patience, stop, progress
        self._scored = False

    def __call__(self, videos: Sequence[Cells]) -> list[Score | Refusal]:
        """Outcomes in the order of `videos`. Raises `Unavailable`, or `Stopped` on a signal."""
        settled: dict[int, Score | Refusal] = {}
        tries = dict.fromkeys(range(len(videos)), 0)
        while waiting := sorted(tries.keys() - settled.keys(), key=lambda index: (tries[index], index)):
            before, trouble = len(settled), None
            try:
                with self._stop.interruptible():
                    for position, outcome in self._service.score([videos[index] for index in waiting]):
                        index = waiting[position]
                        tries[index] += not isinstance(outcome, NoAnswer) or outcome.suspect
                        if not isinstance(outcome, NoAnswer):
                            settled[index] = outcome
                            self._scored |= isinstance(outcome, Score)
                        elif tries[index] >= TRIES and self._scored:
                            settled[index] = Refusal(f"no answer in {TRIES} tries; {outcome.reason}")
                        else:
                            trouble = Unavailable(outcome.reason, suspect=outcome.suspect)
            except Unavailable as exc:
                trouble = exc
            if len(settled) > before:
                self._patience.reset()
            if trouble is not None:
                self._service.ask_singly(len(videos) if trouble.suspect else 0)
                wait = self._patience.wait_s(trouble)
                self._progress.note(f"waiting {wait:.0f} s for the service: {trouble}")
                self._stop.sleep(wait)
        return [settled[index] for index in range(len(videos))]


class Progress:
    """Progress and remaining time: a bar on a terminal, an occasional line elsewhere."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done, self._first = total, done, done
        self._is_terminal = sys.stderr.isatty()
        self._begun = self._said = time.monotonic()
        if done:
            self.note(f"{done} of {total} rows were already finished")

    def advance(self, rows: int) -> None:
        """Add finished rows."""
        self._done += rows
        now = time.monotonic()
        if self._is_terminal or now - self._said >= PROGRESS_INTERVAL_S:
            self._said = now
            rate = (self._done - self._first) / max(now - self._begun, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            text = (
                f"{self._done}/{self._total} rows, {rate:.1f}/s, {left // 60:.0f} min {left % 60:.0f} s left"
            )
            filled = 30 * self._done // max(self._total, 1)
            bar = f"\r\x1b[K[{'#' * filled}{'.' * (30 - filled)}] " if self._is_terminal else ""
            print(bar + text, end="" if self._is_terminal else "\n", file=sys.stderr, flush=True)

    def note(self, sentence: str) -> None:
        """Print a line."""
        print(("\r\x1b[K" if self._is_terminal else "") + sentence, file=sys.stderr, flush=True)


def opened_table(path: Path, delimiter: str, encoding: str) -> Table:
    """Open the file; raises `SettingError` when it is not a readable table."""
    if not path.is_file():
        raise SettingError(f"{path}: no such file")
    table = ParquetTable(path) if path.suffix == ".parquet" else CsvTable(path, delimiter, encoding)
    if not table.columns or len(set(table.columns)) < len(table.columns):
        raise SettingError(f"{path}: the header is empty or repeats a column: {shown(table.columns, 300)}")
    return table


def mapping(table: Table, named: Sequence[str], *, thumbnails: bool) -> dict[str, str]:
    """Map request fields to columns; raises `SettingError` for an unknown field or column."""
    found = {field: field for field in FIELDS if field in table.columns}
    for pair in named:
        field, _, column = pair.partition("=")
        if field not in FIELDS or column not in table.columns:
            raise SettingError(
                f"--map {pair}: expected FIELD=COLUMN with a field of {', '.join(FIELDS)} "
                f"and a column of {shown(table.columns, 300)}"
            )
        found[field] = column
    if "title" not in found:
        raise SettingError(f"no column `title` in {shown(table.columns, 300)}; add --map title=COLUMN")
    if not thumbnails:
        found.pop("thumbnail_url", None)
    return found


def sha256_of(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def result_of(outcome: Score | Refusal) -> list[str]:
    """The result cells of a row, in the order of `RESULTS`."""
    if isinstance(outcome, Refusal):
        return ["", "", "", "", outcome.reason]
    said = outcome.answer
    figures = [str(outcome.viral_score), str(outcome.predicted_velocity), str(said.get("confidence", ""))]
    return [*figures, str(said.get("model_version", "")), ""]


def score_rest(
    table: Table, fields: Mapping[str, str], finished: Finished, scoring: Scoring, size: int
) -> Iterator[int]:
    """Score the remaining rows; yields the number of rows finished by each call."""
    rest = itertools.islice(table.rows(), finished.count, None)
    while some := list(itertools.islice(rest, size)):
        malformed: list[Any] = [row.get(None) for row in some]  # type: ignore[call-overload]
        videos = [
            {field: row[column] for field, column in fields.items() if row[column] is not None}
            for row in some
            if None not in row
        ]
        scores = iter(scoring(videos))
        finished.add(result_of(Refusal(wrong) if wrong else next(scores)) for wrong in malformed)
        yield len(some)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, help="a .csv or .parquet file")
    parser.add_argument(
        "output", type=Path, nargs="?", help="default: INPUT.scored.csv or INPUT.scored.parquet"
    )
    parser.add_argument("--url", help="the service's URL; overrides INFERENCE_API_URL")
    parser.add_argument("--map", action="append", default=[], metavar="FIELD=COLUMN", help="may be repeated")
    parser.add_argument(
        "--thumbnails", choices=["use", "none"], default="use", help="none: score without thumbnails"
    )
    parser.add_argument("--prefix", default="", help="prefix of the five new columns")
    parser.add_argument(
        "--batch", type=int, default=64, choices=range(1, 257), metavar="1..256", help="rows per call"
    )
    parser.add_argument("--delimiter", default=",", help="CSV delimiter (,)")
    parser.add_argument("--encoding", default="utf-8", help="CSV encoding (utf-8)")
    parser.add_argument("--timeout", type=float, default=60.0, help="timeout of a call in seconds (60)")
    parser.add_argument(
        "--patience",
        type=float,
        default=300.0,
        help="how long to wait for a sleeping service, in seconds (300)",
    )
    parser.add_argument(
        "--waits",
        type=lambda text: [float(part) for part in text.split(",")],
        default=list(WAITS_S),
        help="seconds between tries (5,15,30,60)",
    )
    return parser


def score_file(options: argparse.Namespace, stop: StopSignals) -> int:
    """Score the whole file; returns the exit code."""
    source: Path = options.input
    target: Path = options.output or source.with_suffix(f".scored{source.suffix}")
    if target.exists():
        raise SettingError(f"{target} already exists: remove it or choose another output")
    if (target.suffix == ".parquet") != (source.suffix == ".parquet"):
        raise SettingError(f"{target}: the output must have the type of the input ({source.suffix})")
    table = opened_table(source, options.delimiter, options.encoding)
    fields = mapping(table, options.map, thumbnails=options.thumbnails == "use")
    names = [options.prefix + name for name in RESULTS]
    if taken := [name for name in names if name in table.columns]:
        raise SettingError(f"{source} already has the columns {', '.join(taken)}: add --prefix miles_")
    known = settings(os.environ, [Path.cwd() / ".env", Path(__file__).parent / ".env"])
    service = opened_service(
        known | ({"INFERENCE_API_URL": options.url} if options.url else {}), options.timeout
    )
    total = sum(
        1 for _ in table.rows()
    )  # reads everything once, so that a broken file fails before an hour of work
    finished = Finished(
        target.with_name(target.name + ".part"), {"input": sha256_of(source), "fields": fields}
    )
    progress = Progress(total, finished.count)
    scoring = Scoring(service, Patience(options.patience, options.waits), stop, progress)
    for rows in score_rest(table, fields, finished, scoring, options.batch):
        progress.advance(rows)
    unfinished = target.with_name(target.name + ".writing")
    table.write(unfinished, names, finished.results())
    wrong = sum(1 for result in finished.results() if result[-1])
    unfinished.replace(target)
    finished.path.unlink()
    progress.note(f"{target}: {total - wrong} rows scored, {wrong} with an error")
    return ROWS_LEFT if wrong else DONE


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = arguments().parse_args(words)
    stop = StopSignals()
    stop.install()
    try:
        return score_file(options, stop)
    except SettingError as exc:
        print(f"score_csv: {exc}", file=sys.stderr)
        return WRONG_SETTING
    except OSError as exc:
        print(f"score_csv: {exc.filename}: {exc.strerror}", file=sys.stderr)
        return WRONG_SETTING
    except Unavailable as exc:
        print(
            f"score_csv: the service did not answer: {exc}; run the command again to continue",
            file=sys.stderr,
        )
        return NO_SERVICE
    except Stopped:
        print("score_csv: stopped; run the command again to continue", file=sys.stderr)
        return 128 + (stop.number or 0)


if __name__ == "__main__":
    sys.exit(main())
