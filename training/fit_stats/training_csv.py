"""Reads the CSV that a checkpoint was trained on: every row is used, or it is said why it is not.

Rows are numbered as a spreadsheet numbers them: the header is row 1.
"""

import csv
import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.registry import features_named
from training.fit_stats.columns import Parse, flag, number, parser_of, some

FloatArray = NDArray[np.float64]
GZIP_MAGIC = b"\x1f\x8b"
REPORTED = 20
VELOCITIES = ("view_velocity", "velocity", "views_per_day")
LABELS = ("is_viral", "viral", "viral_label", "label")
LANGUAGES = ("language", "lang")
TITLE = "title"


class TrainingDataError(Exception):
    """A file that statistics cannot be fitted on: names it, what is wrong and what to do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be read. A column that is None is looked for under its usual names."""

    features: tuple[str, ...]
    velocity: str | None = None
    label: str | None = None
    needs_label: bool = False
    language: str | None = None
    english_only: bool = False
    skip_bad_rows: bool = False


@dataclass(frozen=True)
class TrainingTable:
    """N rows that can be used: `values` (N, F) in the order of the asked features, `velocity` (N,)."""

    path: Path
    values: FloatArray
    velocity: FloatArray
    labels: FloatArray | None
    titles: list[str] | None
    row_numbers: NDArray[np.int64]
    velocity_column: str
    label_column: str | None
    rows: int
    left_out: dict[str, int] = field(default_factory=dict)
    """How many rows were left out, by reason."""
    bad_rows: list[str] = field(default_factory=list)
    """One sentence for each row that was left out because it cannot be used."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row each value stands, and what reads it."""

    parsers: list[tuple[str, int, Parse]]
    velocity: str
    label: str | None
    title: int | None
    language: tuple[str, int] | None
    width: int


def read_training_csv(path: Path, asked: Asked) -> TrainingTable:
    """The rows of a CSV, gzipped or plain. Raises `TrainingDataError`, with a line for every bad row."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    rows = _numbered(path, reader)
    _, header = next(rows, (1, []))
    columns = _find_columns(path, [name.strip() for name in header], asked)
    return _collect(path, rows, columns, asked)


def _read_text(path: Path) -> str:
    try:
        encoded = path.read_bytes()
        text = gzip.decompress(encoded) if encoded.startswith(GZIP_MAGIC) else encoded
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise TrainingDataError(
            f"{path}: is not UTF-8 (byte {exc.start}); save it as CSV in UTF-8, plain or gzipped"
        ) from exc
    except (OSError, EOFError) as exc:
        raise TrainingDataError(f"{path}: cannot be read ({exc}); name the training CSV") from exc


def _numbered(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """(row number, cells); lines without a cell between rows are no rows."""
    number = 0
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as exc:
            raise TrainingDataError(
                f"{path}: row {number}: is not CSV ({exc}); save it again with commas and double quotes"
            ) from exc
        if cells:
            yield number, cells


def _find_columns(path: Path, header: Sequence[str], asked: Asked) -> _Columns:
    missing = [name for name in asked.features if name not in header]
    if missing:
        raise TrainingDataError(
            f"{path}: lacks {some(missing)}, which the checkpoint's scalar_features list. The checkpoint "
            f"lists {some(asked.features)}; the file has {some(header)}. Name the file that it was trained "
            "on, or rename its columns."
        )
    parsers: list[tuple[str, int, Parse]] = [
        (feature.name, header.index(feature.name), parser_of(feature))
        for feature in features_named(asked.features)
    ]
    velocity = _one_of(path, header, asked.velocity, VELOCITIES, "velocity", "views per day")
    parsers.append((velocity, header.index(velocity), number))
    label = None
    if asked.needs_label:
        label = _one_of(path, header, asked.label, LABELS, "label", "the viral label")
        parsers.append((label, header.index(label), flag))
    language = None
    if asked.english_only:
        name = _one_of(path, header, asked.language, LANGUAGES, "language", "each row's language")
        language = (name, header.index(name))
    used = [name for name, _, _ in parsers] + ([language[0]] if language else [])
    twice = sorted({name for name in used if header.count(name) > 1})
    if twice:
        raise TrainingDataError(
            f"{path}: has two columns called {some(twice)}; keep the one that was trained"
        )
    title = header.index(TITLE) if TITLE in header else None
    return _Columns(parsers, velocity, label, title, language, len(header))


def _one_of(
    path: Path, header: Sequence[str], given: str | None, usual: Sequence[str], option: str, holds: str
) -> str:
    """The column that was named, or the first that has one of the usual names."""
    found = next((name for name in ([given] if given else usual) if name in header), None)
    if found is None:
        looked_for = given or " or ".join(usual)
        raise TrainingDataError(
            f"{path}: has no column {looked_for}; name the one that holds {holds} with "
            f"--{option}-column. The file has {some(header)}."
        )
    return found


def _collect(
    path: Path, rows: Iterator[tuple[int, list[str]]], columns: _Columns, asked: Asked
) -> TrainingTable:
    kept: list[list[float]] = []
    numbers: list[int] = []
    titles: list[str] = []
    bad: list[str] = []
    left_out: dict[str, int] = {}
    count = 0
    for row_number, cells in rows:
        count += 1
        reason = _not_english(cells, columns)
        if reason:
            left_out[reason] = left_out.get(reason, 0) + 1
            continue
        values, faults = _parse(cells, columns)
        if faults:
            bad.append(
                f"row {row_number}: {faults[0]}" + (f" (and {len(faults) - 1} more)" * (len(faults) > 1))
            )
            continue
        kept.append(values)
        numbers.append(row_number)
        titles.append(cells[columns.title] if columns.title is not None else "")
    if bad:
        left_out["with cells that cannot be used"] = len(bad)
    if bad and not asked.skip_bad_rows:
        raise TrainingDataError(
            f"{path}: {len(bad)} of {count} rows cannot be used; correct them, or leave them out with "
            f"--skip-bad-rows\n{bad_rows_report(bad)}"
        )
    if not kept:
        why = "; ".join(f"{rows_out} {reason}" for reason, rows_out in left_out.items())
        raise TrainingDataError(f"{path}: has no row to fit on ({count} rows{'; ' if why else ''}{why})")
    table = np.array(kept, dtype=np.float64)
    width = len(asked.features)
    return TrainingTable(
        path=path,
        values=table[:, :width],
        velocity=table[:, width],
        labels=table[:, width + 1] if columns.label else None,
        titles=titles if columns.title is not None else None,
        row_numbers=np.array(numbers),
        velocity_column=columns.velocity,
        label_column=columns.label,
        rows=count,
        left_out=left_out,
        bad_rows=bad,
    )


def bad_rows_report(bad: Sequence[str]) -> str:
    """A line for each bad row, the first twenty of them."""
    more = [f"and {len(bad) - REPORTED} more rows"] if len(bad) > REPORTED else []
    return "\n".join(f"  {line}" for line in [*bad[:REPORTED], *more])


def _not_english(cells: Sequence[str], columns: _Columns) -> str | None:
    """Why a row is left out where only English is wanted, None for one that stays."""
    if columns.language is None or len(cells) != columns.width:
        return None
    name, position = columns.language
    language = cells[position].strip().lower().replace("_", "-")
    if language in ("en", "english") or language.startswith("en-"):
        return None
    return f"not English (column {name})" if language else f"that do not say their language (column {name})"


def _parse(cells: Sequence[str], columns: _Columns) -> tuple[list[float], list[str]]:
    """A row's numbers, and a sentence for each cell that holds none."""
    if len(cells) != columns.width:
        return [], [f"has {len(cells)} cells, the header has {columns.width}"]
    values, faults = [], []
    for name, position, parse in columns.parsers:
        try:
            values.append(parse(cells[position]))
        except ValueError as exc:
            faults.append(f"{name} {exc}")
    return values, faults
