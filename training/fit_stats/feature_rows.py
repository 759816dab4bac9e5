"""A training file's feature columns as the numbers that a checkpoint was trained on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.feature import Feature
from features.registry import features_named
from training.data.cells import flag, listed, number, shown
from training.data.rows import BadRowError, BadRows, check_width
from training.data.table import DatasetError, Table, read_table

FloatArray = NDArray[np.float64]
VELOCITIES = ("view_velocity", "velocity", "views_per_day")
LABELS = ("is_viral", "viral", "viral_label", "label")
LANGUAGES = ("language", "lang")
TITLE = "title"
WEEKDAY = "publish_dayofweek"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MIN_DAY_LETTERS = 3  # Mon, Tues, Thurs
FLAG_UNIT = "0 or 1"

Parse = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """Options for reading a file. A column that is None is found under its usual names."""

    features: tuple[str, ...]
    velocity: str | None = None
    label: str | None = None
    needs_label: bool = False
    language: str | None = None
    english_only: bool = False
    skip_bad_rows: bool = False


@dataclass(frozen=True)
class FeatureRows:
    """N rows that can be used:

    `values` (N, F) in the order of the features, `velocity` (N,) views per day.
    """

    path: Path
    values: FloatArray
    velocity: FloatArray
    labels: FloatArray | None
    titles: list[str] | None
    row_numbers: NDArray[np.int64]
    velocity_column: str
    label_column: str | None
    total: int
    other_languages: dict[str, int]
    """Number of rows that are not in English, by reason; empty if every language was asked for."""
    bad: BadRows


@dataclass(frozen=True, slots=True)
class _Columns:
    """The position and the parser of every value, by column name: the features, the velocity, the label."""

    parsers: dict[str, tuple[int, Parse]]
    velocity: str
    label: str | None
    title: int | None
    language: tuple[str, int] | None
    width: int


def read_feature_rows(path: Path, reading: Reading) -> FeatureRows:
    """The rows of a CSV, CSV.gz or Parquet file. Raises `DatasetError`, with every kind of bad row."""
    table = read_table(path)
    columns = _find_columns(table, reading)
    bad, kept, numbers, titles, total = BadRows(), [], [], list[str](), 0
    other_languages: dict[str, int] = {}
    for row_number, cells in table.rows:
        total += 1
        try:
            check_width(cells, columns.width)
            reason = _not_english(cells, columns)
            if reason:
                other_languages[reason] = other_languages.get(reason, 0) + 1
                continue
            kept.append([_value(name, cells, columns) for name in columns.parsers])
        except BadRowError as exc:
            bad.add(exc.kind, row_number, str(exc))
            continue
        numbers.append(row_number)
        titles.append(cells[columns.title] if columns.title is not None else "")
    bad.refuse(path, total, "--skip-bad-rows", allowed=reading.skip_bad_rows)
    if not kept:
        reasons = "; ".join(f"{count} {reason}" for reason, count in other_languages.items())
        raise DatasetError(f"{path}: none of its {total} rows can be used ({reasons})")
    values = np.array(kept, dtype=np.float64)
    width = len(reading.features)
    return FeatureRows(
        path=path,
        values=values[:, :width],
        velocity=values[:, width],
        labels=values[:, width + 1] if columns.label else None,
        titles=titles if columns.title is not None else None,
        row_numbers=np.array(numbers),
        velocity_column=columns.velocity,
        label_column=columns.label,
        total=total,
        other_languages=other_languages,
        bad=bad,
    )


def _find_columns(table: Table, reading: Reading) -> _Columns:
    missing = [name for name in reading.features if name not in table.columns]
    if missing:
        raise DatasetError(
            f"{table.path}: lacks {listed(missing)}. The checkpoint's scalar_features are "
            f"{listed(reading.features)}; the file has {listed(table.columns)}. Use the file that the "
            "checkpoint was trained on, or rename its columns."
        )
    parsers = {
        feature.name: (table.position(feature.name), parser_of(feature))
        for feature in features_named(reading.features)
    }
    velocity = _column(table, reading.velocity, VELOCITIES, "velocity", "views per day")
    parsers[velocity] = (table.position(velocity), number)
    label, language = None, None
    if reading.needs_label:
        label = _column(table, reading.label, LABELS, "label", "the viral label")
        parsers[label] = (table.position(label), flag)
    if reading.english_only:
        name = _column(table, reading.language, LANGUAGES, "language", "each row's language")
        language = (name, table.position(name))
    title = table.columns.index(TITLE) if TITLE in table.columns else None
    return _Columns(parsers, velocity, label, title, language, len(table.columns))


def _column(table: Table, given: str | None, usual: Sequence[str], option: str, contents: str) -> str:
    """The column that was named, or the first with a usual name."""
    found = next((name for name in ([given] if given else usual) if name in table.columns), None)
    if found is None:
        raise DatasetError(
            f"{table.path}: has no column {given or ' or '.join(usual)}; name the column with {contents} "
            "with "
            f"--{option}-column. It has {listed(table.columns)}."
        )
    return found


def _not_english(cells: Sequence[str], columns: _Columns) -> str | None:
    """The reason why a row is left out where only English is wanted, None for a row that stays."""
    if columns.language is None:
        return None
    name, position = columns.language
    language = cells[position].strip().lower().replace("_", "-")
    if language in ("en", "english") or language.startswith("en-"):
        return None
    return f"not English (column {name})" if language else f"without a language (column {name})"


def _value(name: str, cells: Sequence[str], columns: _Columns) -> float:
    position, parse = columns.parsers[name]
    try:
        return parse(cells[position])
    except ValueError as exc:
        raise BadRowError(name, f"{name} {exc}") from exc


def parser_of(feature: Feature) -> Parse:
    """The parser of a feature's cells, which also checks its range. It raises `ValueError`."""
    read = weekday if feature.name == WEEKDAY else flag if feature.unit == FLAG_UNIT else number

    def parse(cell: str) -> float:
        value = read(cell)
        if not feature.low <= value <= feature.high:
            raise ValueError(f"is {shown(cell)}, expected {_range(feature)}")
        return value

    return parse


def weekday(cell: str) -> float:
    """Monday 0 to Sunday 6, from the day's name, its first letters or its number. Raises `ValueError`."""
    word = cell.strip().lower()
    if len(word) >= MIN_DAY_LETTERS and word.isalpha():
        for day, name in enumerate(DAYS):
            if name.startswith(word.removesuffix("s") if word == "weds" else word):
                return float(day)
    try:
        value = number(cell)
    except ValueError:
        value = math.nan
    if value not in range(len(DAYS)):
        raise ValueError(f"is {shown(cell)}, expected a weekday's name, or Monday 0 to Sunday 6")
    return value


def _range(feature: Feature) -> str:
    if math.isinf(feature.high):
        return f"at least {feature.low:g}"
    return f"{feature.low:g} to {feature.high:g}"
