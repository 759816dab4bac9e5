#!/usr/bin/env python3
"""Scores a CSV, JSON Lines or Parquet file through a running Miles, one row of results for each row.

    python score_csv.py videos.csv                       writes videos.scored.csv
    python score_csv.py videos.jsonl.gz                  also .csv.gz, .ndjson, .jsonl
    python score_csv.py videos.parquet scored.parquet    needs pyarrow
    python score_csv.py export.csv --map title=Headline --map view_count=Plays --thumbnails none
    python score_csv.py export.csv --dry-run             shows what would be sent, and sends nothing

Columns are matched by the names of a request's fields (title, description, thumbnail_url, view_count, ...);
use `--map` for other names. The first line of output says which columns are read. A CSV's delimiter is found
in its header. N/A, null and - are unknown in numbers and times; `--suffixes` reads 1.2K.

The output has all rows and columns of the input in the same order, plus viral_score, predicted_velocity, low
and high (the interval around it), confidence, in_range (false: unlike the training data), image (used,
missing or failed), image_reason (such as http_404), warnings, model_version and error (why a row has no
score).

Finished rows are kept in `OUTPUT.part`. After an interruption, run the same command again: it continues where
it stopped and scores no row twice. Neither file is ever held in memory.

Needs requests and, in the same folder, trigger_inference.py, whose client it uses. INFERENCE_API_URL (or
--url) and MILES_API_KEY come from the environment or `.env`.

Exit codes: 0 all rows scored; 1 some rows have an error instead; 2 invalid setting or file; 3 the service did
not answer, run it again later; 130 and 143 stopped by SIGINT or SIGTERM, run it again to continue.
"""

import argparse
import csv
import gzip
import hashlib
import itertools
import json
import os
import re
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import IO, Any

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

# The new columns and their types in a Parquet file.
RESULTS: dict[str, type] = {
    **dict.fromkeys(("viral_score", "predicted_velocity", "low", "high", "confidence"), float),
    "in_range": bool,
    **dict.fromkeys(("image", "image_reason", "warnings", "model_version", "error"), str),
}
# Reasons for a missing thumbnail that may be over a minute later.
PASSING = re.compile(r"timeout|unreachable|truncated|unavailable|http_(429|5\d\d)")
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
NULLS = ("n/a", "na", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "\\n")
SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)\s?([KMB])(?:\s+[a-z]+)?", re.IGNORECASE)
FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9}
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


def opened_text(path: Path, mode: str, encoding: str) -> IO[str]:
    """A text file, compressed if its name ends in .gz."""
    if path.suffix == ".gz":
        compressed: Any = gzip.open(path, f"{mode}t", encoding=encoding, newline="")  # noqa: SIM115
        return compressed  # type: ignore[no-any-return]
    return path.open(mode, encoding=encoding, newline="")


class CsvTable(Table):
    """A CSV file; cells are passed on unchanged, empty ones as null."""

    def __init__(self, path: Path, delimiter: str | None, encoding: str) -> None:
        csv.field_size_limit(2**31 - 1)  # a cell may hold a whole picture as data:
        self._path = path
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as start:
            has_mark = start.read(3) == b"\xef\xbb\xbf"
        self._encoding = "utf-8-sig" if has_mark and encoding == "utf-8" else encoding
        self._delimiter = delimiter or self._found_delimiter()
        self.columns = [cell.strip() for cell in next(self._lines(), [])]

    def _found_delimiter(self) -> str:
        """The one of , ; tab and | that occurs most often in the header outside quotes."""
        try:
            with opened_text(self._path, "r", self._encoding) as opened:
                header = re.sub(r'"[^"]*"', "", opened.readline())
        except UnicodeDecodeError as exc:
            raise self._not_text(exc) from exc
        return max(",;\t|", key=header.count)

    def _not_text(self, exc: UnicodeDecodeError) -> SettingError:
        return SettingError(f"{self._path}: not {self._encoding} ({exc.reason}); set --encoding")

    def _lines(self) -> Iterator[list[str]]:
        with opened_text(self._path, "r", self._encoding) as opened:
            reader = csv.reader(opened, delimiter=self._delimiter, strict=True)
            try:
                yield from (cells for cells in reader if cells)
            except UnicodeDecodeError as exc:
                raise self._not_text(exc) from exc
            except (csv.Error, EOFError, gzip.BadGzipFile) as exc:
                raise SettingError(f"{self._path}: line {reader.line_num}: {exc}") from exc

    def rows(self) -> Iterator[Cells]:
        """Each line after the header; lines of the wrong length are reported, not guessed at."""
        for cells in itertools.islice(self._lines(), 1, None):
            if len(cells) == len(self.columns):
                yield {name: cell.strip() and cell for name, cell in zip(self.columns, cells, strict=True)}
            else:
                yield {None: f"{len(cells)} cells, the header has {len(self.columns)}"}  # type: ignore[dict-item]

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Cells unchanged; short lines are padded so that results land in their columns."""
        with opened_text(path, "w", self._encoding) as opened:
            writer = csv.writer(opened, delimiter=self._delimiter, lineterminator="\n")
            writer.writerow([*self.columns, *names])
            for cells, result in zip(itertools.islice(self._lines(), 1, None), results, strict=False):
                writer.writerow([*cells, *[""] * (len(self.columns) - len(cells)), *result])


class JsonLines(Table):
    """A file with a JSON object in each line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.columns = list(dict.fromkeys(name for row in self.rows() for name in row if name is not None))

    def _lines(self) -> Iterator[str]:
        try:
            with opened_text(self._path, "r", "utf-8") as opened:
                yield from (line for line in opened if line.strip())
        except (UnicodeDecodeError, EOFError, gzip.BadGzipFile) as exc:
            raise SettingError(f"{self._path}: {exc}") from exc

    def rows(self) -> Iterator[Cells]:
        """Each object; another line is reported as malformed."""
        for line in self._lines():
            try:
                row = json.loads(line)
            except ValueError as exc:
                row = f"not JSON: {exc}"
            yield row if isinstance(row, dict) else {None: f"not an object: {row}"}  # type: ignore[dict-item]

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Objects with the results added; a malformed line becomes an object with its error."""
        with opened_text(path, "w", "utf-8") as opened:
            for row, result in zip(self.rows(), results, strict=False):
                values = map(_typed, result, RESULTS.values())
                kept = {name: value for name, value in row.items() if name is not None}
                whole = kept | dict(zip(names, values, strict=True))
                opened.write(json.dumps(whole, ensure_ascii=False) + "\n")


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
        """Each row."""
        for batch in self._file.iter_batches(1000):
            yield from batch.to_pylist()

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
                    arrow.array([_typed(cell, kind) for cell in column], arrow_kind)
                    for column, kind, arrow_kind in zip(cells, RESULTS.values(), kinds, strict=True)
                ]
                writer.write_batch(arrow.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema))


def json_value(value: Any) -> Any:
    """A value of a file as a JSON value: dates as ISO 8601, NaN as null."""
    if isinstance(value, date):  # datetime included
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _typed(cell: str, kind: type) -> float | bool | str | None:
    if not cell:
        return None
    return cell == "true" if kind is bool else kind(cell)


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


def kind_of(path: Path) -> str:
    """A file's kind by its name: csv, jsonl or parquet."""
    suffix = (path.suffixes[-2:-1] if path.suffix == ".gz" else path.suffixes[-1:] or [".csv"])[0]
    return {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(suffix, "csv")


def opened_table(path: Path, delimiter: str | None, encoding: str) -> Table:
    """Open the file; raises `SettingError` when it is not a readable table."""
    if not path.is_file():
        raise SettingError(f"{path}: no such file")
    kind = kind_of(path)
    table: Table
    if kind == "parquet":
        table = ParquetTable(path)
    else:
        table = JsonLines(path) if kind == "jsonl" else CsvTable(path, delimiter, encoding)
    named = [name for name in table.columns if name]  # a spreadsheet's empty columns have no name
    if not named or len(set(named)) < len(named):
        raise SettingError(f"{path}: the header is empty or repeats a column: {shown(table.columns, 300)}")
    return table


@dataclass(frozen=True)
class Columns:
    """Which column each request field is read from, and how cells are read."""

    fields: Mapping[str, str]
    nulls: Sequence[str] = ()
    suffixes: bool = False

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
    maps = " ".join(f"--map {field}={column}" for field, column in near(table, found).items())
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
    looks = {NEAR.get(re.sub(r"[\W_]", "", name.lower())): name for name in table.columns}
    return {
        field: name
        for field, name in looks.items()
        if field and field not in found and name not in found.values()
    }


def overview(table: Table, found: Mapping[str, str]) -> str:
    """Which columns are read and which are not, with the options that would read them."""
    read = [field if field == column else f"{field} (from {column})" for field, column in found.items()]
    rest = [name for name in table.columns if name and name not in found.values()]
    absent = [field for field in FIELDS[:6] if field not in found]
    maps = [f"--map {field}={column}" for field, column in near(table, found).items()]
    parts = [f"reads {', '.join(read)}"]
    parts += [f"not in the file: {', '.join(absent)}"] if absent else []
    parts += [f"not read: {shown(', '.join(rest), 300)}"] if rest else []
    parts += [f"to read them: {' '.join(maps)}"] if maps else []
    return "; ".join(parts)


def sha256_of(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def image_of(outcome: Score | Refusal) -> Mapping[str, Any]:
    """What became of a row's thumbnail: `state` and `reason`."""
    answer = outcome.answer if isinstance(outcome, Score) else {}
    return (answer.get("modalities") or {}).get("image") or {}


def result_of(outcome: Score | Refusal) -> list[str]:
    """The result cells of a row, in the order of `RESULTS`."""
    if isinstance(outcome, Refusal):
        return [*[""] * (len(RESULTS) - 1), outcome.reason]
    said = outcome.answer
    interval = said.get("velocity_interval") or {}
    values: dict[str, Any] = {
        "viral_score": outcome.viral_score,
        "predicted_velocity": outcome.predicted_velocity,
        "low": interval.get("low"),
        "high": interval.get("high"),
        "image": image_of(outcome).get("state"),
        "image_reason": image_of(outcome).get("reason"),
        "in_range": {True: "true", False: "false"}.get(said.get("in_range")),  # type: ignore[arg-type]
        "warnings": " | ".join(map(str, said.get("warnings") or ())),
        "error": "",
    }
    cells = [values.get(name, said.get(name)) for name in RESULTS]
    return ["" if cell is None else str(cell) for cell in cells]


def requests_of(rows: Iterable[Cells], columns: Columns) -> Iterator[Cells | Refusal]:
    """Each row's request, or why there is none."""
    for row in rows:
        try:
            wrong: Any = row.get(None)  # type: ignore[call-overload]
            yield Refusal(wrong) if wrong else columns.video(row)
        except ValueError as exc:
            yield Refusal(str(exc))


@dataclass(frozen=True)
class ImageRules:
    """How often rows are scored again whose thumbnail may come later, and whether one is required."""

    retries: int
    wait_s: float
    is_required: bool


def with_images(
    scoring: Scoring, videos: Sequence[Cells], rules: ImageRules, stop: StopSignals
) -> list[Score | Refusal]:
    """The outcome of each video, those with a thumbnail that may come later scored again after a wait."""
    outcomes = scoring(videos)
    for attempt in range(rules.retries):
        again = [
            index
            for index, outcome in enumerate(outcomes)
            if image_of(outcome).get("state") == "failed"
            and PASSING.fullmatch(str(image_of(outcome).get("reason")))
        ]
        if not again:
            break
        stop.sleep(rules.wait_s * 2**attempt)
        for index, outcome in zip(again, scoring([videos[index] for index in again]), strict=True):
            outcomes[index] = outcome if isinstance(outcome, Score) else outcomes[index]
    if not rules.is_required:
        return outcomes
    return [_required(outcome) for outcome in outcomes]


def _required(outcome: Score | Refusal) -> Score | Refusal:
    image = image_of(outcome)
    if isinstance(outcome, Refusal) or (image.get("state") == "used" and not image.get("reason")):
        return outcome
    return Refusal(f"no usable thumbnail: {image.get('reason') or image.get('state')}")


def score_rest(
    table: Table,
    columns: Columns,
    finished: Finished,
    score: Callable[[Sequence[Cells]], Sequence[Score | Refusal]],
    size: int,
    total: int,
) -> Iterator[int]:
    """Score the remaining rows up to `total`; yields the number of rows finished by each call."""
    rest = itertools.islice(table.rows(), finished.count, total)
    while some := list(itertools.islice(rest, size)):
        requests = list(requests_of(some, columns))
        scores = iter(score([video for video in requests if not isinstance(video, Refusal)]))
        outcomes = (video if isinstance(video, Refusal) else next(scores) for video in requests)
        finished.add(result_of(outcome) for outcome in outcomes)
        yield len(some)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, help="a .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet file")
    parser.add_argument("output", type=Path, nargs="?", help="default: INPUT.scored with the input's ending")
    parser.add_argument("--url", help="the service's URL; overrides INFERENCE_API_URL")
    parser.add_argument("--map", action="append", default=[], metavar="FIELD=COLUMN", help="may be repeated")
    parser.add_argument(
        "--thumbnails", choices=["use", "none"], default="use", help="none: score without thumbnails"
    )
    parser.add_argument(
        "--require", choices=["image"], help="image: a row without a usable thumbnail gets an error, no score"
    )
    parser.add_argument(
        "--retry-images",
        type=int,
        default=0,
        metavar="N",
        help="score rows up to N times more whose thumbnail timed out or was refused for now (HTTP 429, 5xx)",
    )
    parser.add_argument("--prefix", default="", help="prefix of the new columns")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N rows")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the file, print the first row's request, send nothing"
    )
    parser.add_argument(
        "--na",
        default="",
        metavar="TEXTS",
        help=f"more cells that are read as unknown, separated by commas, besides {' '.join(NULLS)}",
    )
    parser.add_argument("--suffixes", action="store_true", help="read 1.2K, 3M and 1B as numbers")
    parser.add_argument(
        "--batch", type=int, default=64, choices=range(1, 257), metavar="1..256", help="rows per call"
    )
    parser.add_argument("--delimiter", help="CSV delimiter (default: found in the header)")
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


def target_of(options: argparse.Namespace) -> Path:
    """The output's path; raises `SettingError` if it exists or has another type than the input."""
    source: Path = options.input
    ending = "".join(source.suffixes[-2:] if source.suffix == ".gz" else source.suffixes[-1:])
    target: Path = options.output or source.with_name(f"{source.name.removesuffix(ending)}.scored{ending}")
    if target.exists():
        raise SettingError(f"{target} already exists: remove it or choose another output")
    if kind_of(target) != kind_of(source):
        raise SettingError(f"{target}: the output must have the type of the input ({ending})")
    return target


def score_file(options: argparse.Namespace, stop: StopSignals) -> int:
    """Score the whole file; returns the exit code."""
    source, target = options.input, target_of(options)
    table = opened_table(source, options.delimiter, options.encoding)
    fields = mapping(table, options.map, thumbnails=options.thumbnails == "use")
    names = [options.prefix + name for name in RESULTS]
    if taken := [name for name in names if name in table.columns]:
        raise SettingError(f"{source} already has the columns {', '.join(taken)}: add --prefix miles_")
    columns = Columns(fields, options.na.split(",") if options.na else (), options.suffixes)
    # Reads everything once, so that a broken file fails before an hour of work.
    total = sum(1 for _ in itertools.islice(table.rows(), options.limit))
    print(f"{source}: {overview(table, fields)}", file=sys.stderr)
    if options.dry_run:
        for request in requests_of(itertools.islice(table.rows(), 1), columns):
            said = request.reason if isinstance(request, Refusal) else json.dumps(request, ensure_ascii=False)
            print(f"{total} rows; the first one's request: {said}")
        return DONE
    known = settings(os.environ, [Path.cwd() / ".env", Path(__file__).parent / ".env"])
    service = opened_service(
        known | ({"INFERENCE_API_URL": options.url} if options.url else {}), options.timeout
    )
    purpose = {"input": sha256_of(source), "fields": fields, "results": names}
    purpose |= {"na": options.na, "suffixes": options.suffixes, "limit": options.limit}
    purpose |= {"require": options.require}
    finished = Finished(target.with_name(target.name + ".part"), purpose)
    progress = Progress(total, finished.count)
    scoring = Scoring(service, Patience(options.patience, options.waits), stop, progress)
    rules = ImageRules(options.retry_images, options.waits[0], options.require == "image")
    score = partial(with_images, scoring, rules=rules, stop=stop)
    for rows in score_rest(table, columns, finished, score, options.batch, total):
        progress.advance(rows)
    unfinished = target.with_name(f"unfinished-{target.name}")
    table.write(unfinished, names, finished.results())
    lines, wrong = closing(finished.results())
    unfinished.replace(target)
    finished.path.unlink()
    progress.note(f"{target}: {total - wrong} rows scored, {wrong} with an error{lines}")
    return ROWS_LEFT if wrong else DONE


def closing(results: Iterator[list[str]]) -> tuple[str, int]:
    """How many rows have warnings, lie outside the training data, lack their thumbnail or have which error.

    Also the number of errors.
    """
    counts, errors, images = Counter[str](), Counter[str](), Counter[str]()
    for result in results:
        row = dict(zip(RESULTS, result, strict=True))
        counts["with warnings"] += bool(row["warnings"])
        counts["outside the range of the training data"] += row["in_range"] == "false"
        if row["image_reason"] not in ("", "no_thumbnail", "no_image_tower"):
            images[row["image_reason"]] += 1
        if row["error"]:
            errors[re.sub(r"'[^']*'", "...", row["error"])[:60]] += 1
    parts = [f"{count} {kind}" for kind, count in counts.items() if count]
    reasons = ", ".join(f"{count} {reason}" for reason, count in images.most_common(10))
    lines = [f"\n  {images.total()} of the thumbnails were not usable: {reasons}"] if images else []
    lines += [f"\n  {count} rows: {error}" for error, count in errors.most_common(10)]
    return "".join([f"; {', '.join(parts)}" if parts else "", *lines]), errors.total()


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
