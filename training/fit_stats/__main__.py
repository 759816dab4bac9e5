"""Writes the sidecar with the feature statistics that an older checkpoint lacks, from its training data.

    ./miles fit-stats TRAINING.csv --checkpoint models/model_full.pt
    ./miles fit-stats TRAINING.csv --checkpoint models/model_full.pt --english-only --split-seed 42

Mean and scale are those of scikit-learn's StandardScaler, the velocity's bounds those of its MinMaxScaler,
on all rows or, with a seed, on the training part of the 70/15/15 split. The checkpoint is read only for the
names of its columns. Needs neither torch nor, without --split-seed, scikit-learn.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.distribution import Distribution, fit_distributions
from features.registry import MILES_V0, UnknownFeatureError, features_named
from features.scaler import FeatureScaler
from model.checkpoint.file import DEFAULT_CHECKPOINT, SIDECAR_SUFFIX, CheckpointError
from training.data.cells import listed
from training.data.table import DatasetError
from training.fit_stats.agreement import disagreements
from training.fit_stats.feature_rows import (
    LABELS,
    LANGUAGES,
    VELOCITIES,
    FeatureRows,
    Reading,
    read_feature_rows,
)
from training.fit_stats.saved_columns import read_saved_columns
from training.fit_stats.weekdays import CODES
from training.title_words import word_statistics

HELD_OUT = 0.3  # val and test, half each
FITTED_KEYS = ("scalar_features", "feature_stats", "velocity", "distributions", "titles")


@dataclass(frozen=True)
class Fitted:
    """The statistics of a training file, and the number of rows that they are fitted on."""

    scaler: FeatureScaler
    velocity: dict[str, Any]
    rows: int
    constant: list[str]
    distributions: dict[str, Distribution]
    titles: dict[str, Any]
    """Statistics of the titles' words; empty without titles."""
    cleaning: str
    """What training removed from texts, `none` or `words`."""


def fit(table: FeatureRows, names: Sequence[str], split_seed: int | None, cleaning: str) -> Fitted:
    """Statistics of all rows, or of the training part of the split. Raises `DatasetError`.

    The range to which the service clips requests is that of all rows, even with a seed: training did not
    clip, so a row of val or test must keep the score that it had then.
    """
    rows = np.arange(len(table.values)) if split_seed is None else training_rows(table, split_seed)
    scaler = FeatureScaler(table.codes).fit(table.values[rows], names)
    constant = [name for name, is_constant in zip(names, scaler.is_constant_, strict=True) if is_constant]
    whole = FeatureScaler(table.codes).fit(table.values, names)
    scaler.low_, scaler.high_ = whole.low_, whole.high_
    low, high = float(table.velocity[rows].min()), float(table.velocity[rows].max())
    if not max(low, 0.0) < high:
        raise DatasetError(
            f"{table.path}: {table.velocity_column} ranges from {low:g} to {high:g}, expected views per day "
            "that "
            "vary and are above 0; name the column that was trained on with --velocity-column"
        )
    titles = table.titles or []
    return Fitted(
        scaler=scaler,
        velocity={"transform": "min-max", "low": low, "high": high},
        rows=len(rows),
        constant=constant,
        distributions=fit_distributions(table.values[rows], names),
        titles=word_statistics([titles[row] for row in rows]) if titles else {},
        cleaning=cleaning,
    )


def training_rows(table: FeatureRows, seed: int) -> NDArray[np.int64]:
    """The rows of the 70% part of scikit-learn's stratified split. Raises `DatasetError`."""
    assert table.labels is not None, "a split needs labels"
    count = len(table.labels)
    try:
        from sklearn.model_selection import train_test_split  # lazily: a service has no scikit-learn
    except ImportError as exc:
        raise DatasetError(
            "--split-seed needs scikit-learn, which is not installed here; install requirements.txt"
        ) from exc
    try:
        train, _ = train_test_split(
            np.arange(count), test_size=HELD_OUT, random_state=seed, stratify=table.labels
        )
    except ValueError as exc:
        raise DatasetError(
            f"{table.path}: {count} rows cannot be split 70/15/15 by {table.label_column}: {exc}"
        ) from exc
    return np.asarray(train, dtype=np.int64)


def write_sidecar(path: Path, names: Sequence[str], fitted: Fitted) -> list[str]:
    """Write the sidecar. Returns the keys of an older sidecar, such as a calibration, that were kept."""
    kept = _other_keys(path)
    contents = {
        "scalar_features": list(names),
        "feature_stats": fitted.scaler.to_stats(),
        "velocity": fitted.velocity,
        "distributions": {name: known.to_plain() for name, known in fitted.distributions.items()},
        **({"titles": fitted.titles} if fitted.titles else {}),
        **kept,
        "text": {**kept.get("text", {}), "cleaning": fitted.cleaning},
    }
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(json.dumps(contents, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as exc:
        raise DatasetError(f"{path}: cannot be written ({exc.strerror}); choose another --out") from exc
    return sorted(kept)


def _other_keys(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        older = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise DatasetError(
            f"{path}: exists and is not a sidecar ({exc}); remove it or choose another --out"
        ) from exc
    if not isinstance(older, dict):
        raise DatasetError(f"{path}: exists and is not a sidecar; remove it or choose another --out")
    return {key: value for key, value in older.items() if key not in FITTED_KEYS}


def report(table: FeatureRows, fitted: Fitted, seed: int | None) -> list[str]:
    """Lines for a person: rows read, rows left out, and the statistics."""
    left_out = [f"{count:,} {reason}" for reason, count in table.other_languages.items()]
    left_out += [f"{len(table.bad):,} that cannot be used"] if len(table.bad) else []
    lines = [
        f"{table.path}: {table.total:,} rows, {len(table.values):,} used"
        + (f"; left out: {', '.join(left_out)}" if left_out else ""),
        *table.bad.lines(),
    ]
    if seed is not None:
        lines.append(
            f"fitted on {fitted.rows:,} of them: the 70% of seed {seed}, stratified by {table.label_column}"
        )
    lines += _statistics_table(fitted.scaler)
    low, high = fitted.velocity["low"], fitted.velocity["high"]
    lines.append(f"{table.velocity_column}: {low:,.6g} to {high:,.6g} views per day")
    if fitted.constant:
        lines.append(f"constant in these rows, so their scale is 1: {listed(fitted.constant)}")
    return lines


def _statistics_table(scaler: FeatureScaler) -> list[str]:
    lines = [f"{'column':<20}{'mean':>14}{'scale':>14}"]
    for name, mean, scale in zip(scaler.feature_names_in_, scaler.mean_, scaler.scale_, strict=True):
        lines.append(f"{name:<20}{mean:>14,.6g}{scale:>14,.6g}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with a sentence on stderr for a file that cannot be used."""
    options = _parse(arguments)
    try:
        _run(options)
    except (DatasetError, CheckpointError) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    saved = read_saved_columns(options.checkpoint)
    out = options.out or options.checkpoint.with_suffix(SIDECAR_SUFFIX)
    if out.resolve() in (options.checkpoint.resolve(), options.training.resolve()):
        raise DatasetError(f"--out {out} is one of the input files; choose another")
    try:
        features_named(saved.names)
    except UnknownFeatureError as exc:
        raise DatasetError(f"{options.checkpoint}: its scalar_features list {exc}") from exc
    reading = Reading(
        features=saved.names,
        velocity=options.velocity_column,
        label=options.label_column,
        needs_label=options.split_seed is not None,
        language=options.language_column,
        english_only=options.english_only,
        skip_bad_rows=options.skip_bad_rows,
        weekday_codes=options.weekday_codes,
        own_codes=saved.weekday_codes,
    )
    table = read_feature_rows(options.training, reading)
    assumed = list(table.assumptions)
    cleaning = "words" if options.clean_text else "none"
    if options.clean_text is None and set(saved.names) <= set(MILES_V0):
        cleaning = "words"
        assumed.append(
            "titles were cleaned before tokenising (addresses, emoji and punctuation removed), as for the "
            "first trained file; otherwise give --no-clean-text"
        )
    fitted = fit(table, saved.names, options.split_seed, cleaning)
    kept = write_sidecar(out, saved.names, fitted)
    if not saved.are_listed:
        print(
            f"{options.checkpoint}: has no scalar_features; its layout is that of the first text-only "
            "models, "
            "so its features are taken to be those of the first trained file"
        )
    print("\n".join(report(table, fitted, options.split_seed)))
    for sentence in assumed:
        print(f"CHECK: {sentence}")
    for sentence in disagreements(table, saved.names, fitted.scaler.scale_):
        print(f"WARNING: {sentence}")
    print(f"{out}: written" + (f"; {listed(kept)} kept from the older file" if kept else ""))


def _first(names: Sequence[str]) -> str:
    return f"(default: the first of {', '.join(names)})"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./miles fit-stats",
        usage="%(prog)s [OPTIONS] TRAINING.csv   (--help lists them)",
        description="Writes the feature statistics that an older checkpoint lacks, from its training data.",
    )
    parser.add_argument(
        "training",
        type=Path,
        metavar="TRAINING.csv",
        help="the CSV, CSV.gz or Parquet file that it was trained on",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        default=DEFAULT_CHECKPOINT,
        help="the older checkpoint (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="the file to write (default: CHECKPOINT.stats.json beside it, where the service reads it)",
    )
    parser.add_argument("--english-only", action="store_true", help="use only rows whose language is English")
    parser.add_argument(
        "--split-seed", type=int, metavar="N", help="use only the 70%% of the stratified split with this seed"
    )
    parser.add_argument("--velocity-column", metavar="NAME", help=f"views per day {_first(VELOCITIES)}")
    parser.add_argument("--label-column", metavar="NAME", help=f"viral or not {_first(LABELS)}")
    parser.add_argument(
        "--weekday-codes",
        choices=CODES,
        help="numbers that training gave weekdays: names (LabelEncoder's, Friday 0, Monday 1, ...), monday "
        "or sunday (0 is that day), iso (Monday 1 to Sunday 7) or excel (Sunday 1 to Saturday 7); "
        "default: inferred from the checkpoint's encoder, the column's names or is_weekend",
    )
    parser.add_argument(
        "--clean-text",
        action=argparse.BooleanOptionalAction,
        help="whether training removed addresses, emoji and punctuation from titles (default: yes for the "
        "features of the first trained file, else no)",
    )
    parser.add_argument("--language-column", metavar="NAME", help=f"language {_first(LANGUAGES)}")
    parser.add_argument(
        "--skip-bad-rows", action="store_true", help="leave out and report rows that cannot be used"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
