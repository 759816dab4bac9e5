"""Scores training rows as the service does, and compares the scores with the outputs that training wrote.

    ./miles replay models/model_full.pt TRAINING.csv --expected outputs.csv

`outputs.csv` has a row for each of the first rows of TRAINING.csv, with `viral_score` and, if it was written,
`predicted_velocity` in views per day. Where they differ, each column of the file and each way of reading
titles and weekdays is tried in place of the service's, so that the report can name the one that explains
the difference.
For checkpoints with the first list of features; others carry golden answers.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from features import MILES_V0, FeatureScaler
from features.registry import features_named
from features.video import FloatArray
from model.checkpoint.store import Checkpoint, read_checkpoint
from model.torch_engine import TorchEngine
from preprocessing.text import CLEANING, BertTextTokenizer
from training.commands import main
from training.data.cells import listed
from training.data.table import DatasetError
from training.embeddings.text import tokenizer_for
from training.fit_stats.agreement import raw_columns
from training.fit_stats.feature_rows import FeatureRows, Reading, read_feature_rows
from training.fit_stats.weekdays import CODES, WEEKDAY

SCORE, VELOCITY = "viral_score", "predicted_velocity"
BATCH_SIZE = 16


class Replay:
    """A checkpoint's scores for a training file's rows, with the service's inputs or with others."""

    def __init__(self, checkpoint: Checkpoint, table: FeatureRows, rows: int, *, exact: bool = False) -> None:
        """The first `rows` of the file. Raises `DatasetError` without titles."""
        card = checkpoint.card
        if table.titles is None:
            raise DatasetError(f"{table.path}: has no column title, which the checkpoint reads")
        self.names = list(card.scalar_features)
        self.scaler = FeatureScaler.from_stats(card.feature_stats, card.scalar_features)
        self.given = table.values[:rows]  # (N, F), as the file has them
        columns = {name: self.given[:, index] for index, name in enumerate(self.names)}
        raw = raw_columns(columns, table.titles[:rows])
        self.computed = np.stack([feature.compute(raw) for feature in features_named(self.names)], axis=1)
        self._titles = table.titles[:rows]
        self._engine = TorchEngine(checkpoint, precision="exact" if exact else "f32")
        self._tokenizer = tokenizer_for(checkpoint)
        self.text = self._encode(self._tokenizer)

    def _encode(self, tokenizer: BertTextTokenizer) -> FloatArray:
        texts = [tokenizer.encode(title) for title in self._titles]
        batches = [texts[start : start + BATCH_SIZE] for start in range(0, len(texts), BATCH_SIZE)]
        encoded = [
            self._engine.encode_text([t.input_ids for t in batch], [t.token_type_ids for t in batch])
            for batch in batches
        ]
        return np.concatenate(encoded)

    def scores(
        self, raw: FloatArray, scaler: FeatureScaler | None = None, text: FloatArray | None = None
    ) -> FloatArray:
        """(N, 2) probability and velocity for features (N, F)."""
        image = np.repeat(self._engine.neutral_image[None], len(raw), axis=0)
        scalars = (scaler or self.scaler).transform(raw)
        scored = self._engine.score((self.text if text is None else text).astype(np.float32), image, scalars)
        return np.stack([scored.viral, scored.velocity], axis=1)

    def alternatives(self) -> Iterator[tuple[str, FloatArray]]:
        """Each alternative way to compute the inputs, with its scores (N, 2)."""
        for index, name in enumerate(self.names):
            if not np.allclose(self.given[:, index], self.computed[:, index], rtol=1e-9, equal_nan=True):
                changed = self.computed.copy()
                changed[:, index] = self.given[:, index]
                yield f"{name} from the file", self.scores(changed)
        for cleaning in CLEANING:
            if cleaning != self._tokenizer.spec.cleaning:
                spec = replace(self._tokenizer.spec, cleaning=cleaning)
                text = self._encode(BertTextTokenizer.from_vocabulary(spec=spec))
                yield f"text cleaning {cleaning}", self.scores(self.computed, text=text)
        for name, codes in CODES.items():
            table = np.array(codes, dtype=np.float64)
            if WEEKDAY in self.scaler.codes and not np.array_equal(table, self.scaler.codes[WEEKDAY]):
                stats = self.scaler.to_stats()
                stats[WEEKDAY] |= {"codes": list(codes)}
                scaler = FeatureScaler.from_stats(stats, self.names)
                yield f"weekday codes {name}", self.scores(self.computed, scaler)


def read_expected(path: Path) -> list[dict[str, float]]:
    """The outputs of training, one per row, from a CSV or a JSON list. Raises `DatasetError`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = json.loads(text) if path.suffix == ".json" else list(csv.DictReader(text.splitlines()))
        return [{name: float(row[name]) for name in (SCORE, VELOCITY) if name in row} for row in rows]
    except (OSError, ValueError, TypeError) as exc:
        raise DatasetError(f"{path}: cannot be read as outputs ({exc})") from exc


def compare(replay: Replay, expected: FloatArray, tolerance: float) -> tuple[list[str], bool]:
    """Lines of a report, and whether every score is within `tolerance` of training's.

    `expected` is (N, 2); a velocity that training did not write is NaN. Velocity differences are relative to
    the largest expected velocity.
    """
    difference = _difference(replay.scores(replay.computed), expected)
    lines = [
        f"{len(expected):,} rows: difference from the training's outputs",
        _line("as served", difference),
    ]
    if difference.max() <= tolerance:
        return [*lines, f"equal within {tolerance:g}"], True
    tried = [(what, _difference(scores, expected)) for what, scores in replay.alternatives()]
    tried.sort(key=lambda each: each[1].mean())
    lines += [_line(what, each) for what, each in tried]
    best = tried[0] if tried else None
    if best and best[1].mean() < difference.mean():
        lines.append(f"explained best by: {best[0]}")
    else:
        lines.append("no column, cleaning or weekday coding explains it: compare network and statistics")
    return lines, False


def _difference(scores: FloatArray, expected: FloatArray) -> FloatArray:
    """(N,) the larger of the probability's difference and the velocity's relative difference."""
    viral, velocity = np.abs(scores - expected).T
    return np.asarray(np.fmax(viral, velocity / np.nanmax(expected[:, 1], initial=1.0)))


def _line(what: str, difference: FloatArray) -> str:
    worst, row = difference.max(), difference.argmax() + 2  # the header is row 1
    return f"  {what:<36} mean {difference.mean():.2e}  worst {worst:.2e} (row {row})"


def run(options: argparse.Namespace) -> int:
    """Returns 0 where every score agrees, else 1. Raises `CheckpointError` and `DatasetError`."""
    outputs = read_expected(options.expected)
    checkpoint = read_checkpoint(options.checkpoint)
    names = checkpoint.card.scalar_features
    if not set(names) <= set(MILES_V0):
        raise DatasetError(
            f"{options.checkpoint}: reads {listed(sorted(set(names) - set(MILES_V0)))}, which a training "
            "file of the first list does not have. Its golden answers are checked when it is served."
        )
    table = read_feature_rows(options.rows, Reading(features=names, weekday_codes=options.weekday_codes))
    if not 0 < len(outputs) <= len(table.values) or any(SCORE not in row for row in outputs):
        raise DatasetError(
            f"{options.expected}: has {len(outputs):,} rows, expected {SCORE} for at most the "
            f"{len(table.values):,} rows of {options.rows}"
        )
    expected = np.array([[row[SCORE], row.get(VELOCITY, np.nan)] for row in outputs])
    if not np.isfinite(expected[:, 0]).all():
        raise DatasetError(f"{options.expected}: {SCORE} is not a finite number in every row")
    replay = Replay(checkpoint, table, len(outputs), exact=options.exact)
    lines, agrees = compare(replay, expected, options.tolerance)
    print("\n".join(lines))
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main(["replay", *sys.argv[1:]]))
