"""A training file's feature columns as the numbers that a checkpoint was trained on."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.feature import Feature
from features.registry import features_named
from training.data.cells import flag, listed, number, shown, with_decimal_point
from training.data.rows import BadRowError, BadRows, check_width
from training.data.table import DatasetError, Table, read_table
from training.fit_stats.weekdays import WEEKDAY, WEEKEND, Codes, DayReader, coded_days

FloatArray = NDArray[np.float64]
VELOCITIES = ("view_velocity", "velocity", "views_per_day", "engagement_velocity")
LABELS = ("is_viral", "viral", "viral_label", "label")
VIRAL_QUANTILE = 0.8
MAX_LOGARITHM = 25.0  # the logarithm of more views than any video has
COUNTS = ("views", "likes", "comments", "shares", "saves")
LANGUAGES = ("language", "lang")
TITLE = "title"
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
    weekday_codes: str | None = None
    own_codes: Codes | None = None
    """Of weekdays, from the checkpoint."""


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
    codes: dict[str, FloatArray]
    """The codes that training gave a feature's values, by feature."""
    assumptions: list[str]
    """A sentence for each thing that the file does not state."""


@dataclass(frozen=True, slots=True)
class _Columns:
    """The position and the parser of every value, by column name: the features, the velocity, the label."""

    parsers: dict[str, tuple[int, Parse]]
    velocity: str
    label: str | None
    title: int | None
    language: tuple[str, int] | None
    width: int
    has_decimal_commas: bool


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
    codes, assumptions = _decode_weekdays(path, values, reading, columns)
    assumptions += _fractions(values, numbers, reading.features)
    velocity = values[:, width]
    if velocity.max() <= MAX_LOGARITHM:
        what = "a share" if velocity.max() <= 1 else "a logarithm"
        assumptions.append(
            f"{columns.velocity} is {velocity.min():g} to {velocity.max():g}, which looks scaled: an "
            f"answer's velocity will be such {what}, not views per day. Name the unscaled column with "
            "--velocity-column."
        )
    labels, label = (values[:, width + 1], columns.label) if columns.label else (None, None)
    if labels is None and reading.needs_label:
        above = np.quantile(velocity, VIRAL_QUANTILE)
        labels, label = (velocity > above).astype(np.float64), f"{columns.velocity} > {above:g}"
        assumptions.append(
            f"there is no label column ({' or '.join(LABELS)}): viral is taken as {label}, the "
            f"{VIRAL_QUANTILE:.0%} quantile"
        )
    return FeatureRows(
        path=path,
        values=values[:, :width],
        velocity=values[:, width],
        labels=labels,
        titles=titles if columns.title is not None else None,
        row_numbers=np.array(numbers),
        velocity_column=columns.velocity,
        label_column=label,
        total=total,
        other_languages=other_languages,
        bad=bad,
        codes=codes,
        assumptions=assumptions,
    )


def _fractions(values: FloatArray, numbers: Sequence[int], names: Sequence[str]) -> Iterator[str]:
    """A sentence for each column of counts with a fraction: 1.234 is 1,234 where points group thousands."""
    for column, name in enumerate(names):
        if name in COUNTS and (fractions := np.flatnonzero(values[:, column] % 1)).size:
            first = fractions[0]
            yield (
                f"{name} is {values[first, column]:g} in row {numbers[first]}, and not a whole number in "
                f"{fractions.size:,} of {len(values):,} rows. If points group thousands there, remove them."
            )


def _decode_weekdays(
    path: Path, values: FloatArray, reading: Reading, columns: _Columns
) -> tuple[dict[str, FloatArray], list[str]]:
    """Replace the weekday column with days, Monday 0, in place; return its codes and a sentence."""
    if WEEKDAY not in reading.features:
        return {}, []
    column = reading.features.index(WEEKDAY)
    _, days = columns.parsers[WEEKDAY]
    assert isinstance(days, DayReader), "parser_of makes one"
    weekend = values[:, reading.features.index(WEEKEND)] if WEEKEND in reading.features else None
    try:
        values[:, column], codes, sentence = coded_days(
            values[:, column], weekend, days.spellings, reading.weekday_codes, reading.own_codes
        )
    except DatasetError as exc:
        raise DatasetError(f"{path}: {exc}") from exc
    return {WEEKDAY: codes}, [sentence]


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
    if reading.needs_label and (reading.label or not set(LABELS).isdisjoint(table.columns)):
        label = _column(table, reading.label, LABELS, "label", "the viral label")
        parsers[label] = (table.position(label), flag)
    if reading.english_only:
        name = _column(table, reading.language, LANGUAGES, "language", "each row's language")
        language = (name, table.position(name))
    title = table.columns.index(TITLE) if TITLE in table.columns else None
    return _Columns(parsers, velocity, label, title, language, len(table.columns), table.has_decimal_commas)


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
    """Why a row is left out if only English is wanted; None for a row that is kept."""
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
        return parse(with_decimal_point(cells[position]) if columns.has_decimal_commas else cells[position])
    except ValueError as exc:
        raise BadRowError(name, f"{name} {exc}") from exc


def parser_of(feature: Feature) -> Parse:
    """The parser of a feature's cells, which also checks its range. It raises `ValueError`."""
    read = flag if feature.unit == FLAG_UNIT else number

    if feature.name == WEEKDAY:
        return DayReader()

    def parse(cell: str) -> float:
        value = read(cell)
        if not feature.low <= value <= feature.high:
            raise ValueError(f"is {shown(cell)}, expected {_range(feature)}")
        return value

    return parse


def _range(feature: Feature) -> str:
    if math.isinf(feature.high):
        return f"at least {feature.low:g}"
    return f"{feature.low:g} to {feature.high:g}"
