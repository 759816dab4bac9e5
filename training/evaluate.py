"""Measures a checkpoint on the test split: every figure, with and without age, with and without text.

    python -m training.evaluate CHECKPOINT DATA.csv.gz [--cache DIR]

Any checkpoint that the service reads can be measured, through the same engine, tokenizer and features.
The last line on stdout is JSON.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features import FeatureScaler, UnknownFeatureError, compute_features
from model.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from model.engine import Engine, Vectors
from model.torch_engine import TorchEngine
from training.dataset import Dataset, DatasetError, Split, read_dataset, without_age
from training.metrics import (
    Interval,
    MetricsRow,
    Predictions,
    best_f1_threshold,
    metrics_row,
    paired_intervals,
)
from training.vectors import TitleVectors, encode_titles

COLUMNS = ("auroc", "pr_auc", "f1", "brier", "ece", "mae", "r2", "spearman")
AGES = {"with age": True, "without age": False}


@dataclass(frozen=True)
class Report:
    """Figures by condition; `text_gain` is with text minus without, for each kind of request."""

    rows: dict[str, MetricsRow]
    text_gain: dict[str, dict[str, Interval]]
    bfloat16_change: dict[str, float]
    test_predictions: dict[str, Predictions]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the headline figures at the top (with age, with text), the others by condition."""
        return {
            **self.rows["with age"].to_dict(),
            "without_age": self.rows["without age"].to_dict(),
            "without_text": self.rows["with age, without text"].to_dict(),
            "without_age_without_text": self.rows["without age, without text"].to_dict(),
            "text_gain": intervals_to_dict(self.text_gain["with age"]),
            "text_gain_without_age": intervals_to_dict(self.text_gain["without age"]),
            "viral_score_change_with_bfloat16_text": self.bfloat16_change,
        }


def intervals_to_dict(intervals: dict[str, Interval]) -> dict[str, dict[str, float]]:
    """Plain values by figure."""
    return {name: interval.to_dict() for name, interval in intervals.items()}


def predict(
    engine: Engine, checkpoint: Checkpoint, split: Split, text: Vectors, *, with_age: bool = True
) -> Predictions:
    """What `checkpoint` says of `split`, given its (N, D) text vectors and no thumbnails."""
    assert checkpoint.scalar_features is not None, "the engine has required the statistics"
    assert checkpoint.feature_stats is not None, "the engine has required the statistics"
    videos = split.videos if with_age else without_age(split.videos)
    scaler = FeatureScaler.from_stats(checkpoint.feature_stats, checkpoint.scalar_features)
    scalars = scaler.transform(compute_features(videos, checkpoint.scalar_features))
    image = np.broadcast_to(engine.neutral_image, (len(split), len(engine.neutral_image)))
    scores = engine.score(text, image, scalars)
    return Predictions(scores.viral, np.log1p(scores.velocity), split.is_viral, np.log1p(split.views_per_day))


def measure(engine: Engine, checkpoint: Checkpoint, dataset: Dataset, titles: TitleVectors) -> Report:
    """All figures on the test split. F1's threshold is the best one on val, for each condition alone."""
    train_text = titles.of(dataset.train.videos)
    mean_text = np.average(train_text, axis=0, weights=dataset.train.weights).astype(np.float32)
    rows, predictions, gains = {}, {}, {}
    for age, with_age in AGES.items():
        for suffix, known in (("", True), (", without text", False)):
            condition = age + suffix
            pair = {}
            for name in ("val", "test"):
                split = dataset.split(name)
                text = titles.of(split.videos)
                text = text if known else np.broadcast_to(mean_text, text.shape)
                pair[name] = predict(engine, checkpoint, split, text, with_age=with_age)
            predictions[condition] = pair["test"]
            rows[condition] = metrics_row(pair["test"], best_f1_threshold(pair["val"]))
        gains[age] = paired_intervals(
            predictions[age], predictions[f"{age}, without text"], dataset.test.video_ids
        )
    change = _bfloat16_change(engine, checkpoint, dataset.test, titles, predictions["with age"])
    return Report(rows, gains, change, predictions)


def _bfloat16_change(
    engine: Engine, checkpoint: Checkpoint, split: Split, titles: TitleVectors, exact: Predictions
) -> dict[str, float]:
    """How far viral_score moves when the text vectors lose all but bfloat16's eight bits of mantissa."""
    rounded = torch.from_numpy(titles.of(split.videos)).bfloat16().float().numpy()
    moved = np.abs(predict(engine, checkpoint, split, rounded).viral - exact.viral)
    return {"p99": float(np.quantile(moved, 0.99)), "max": float(moved.max())}


def print_rows(rows: dict[str, MetricsRow]) -> None:
    """The table for people."""
    print(f"{'test split':28s}" + "".join(f"{name:>10s}" for name in COLUMNS))
    for name, row in rows.items():
        print(f"{name:28s}" + "".join(f"{getattr(row, column):10.3f}" for column in COLUMNS))


def print_intervals(title: str, intervals: dict[str, Interval]) -> None:
    """One line per figure: the difference and its interval."""
    for name, interval in intervals.items():
        print(f"{title}, {name}: {interval.difference:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]")


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit status is 1 after an error, which goes to stderr in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("checkpoint", type=Path, help="any checkpoint that the service reads")
    parser.add_argument("data", type=Path, help="the CSV or CSV.gz of snapshots")
    parser.add_argument("--cache", type=Path, help="a folder for the title vectors, to measure again faster")
    options = parser.parse_args(arguments)
    try:
        _run(options.checkpoint, options.data, options.cache)
    except (CheckpointError, DatasetError, UnknownFeatureError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def _run(path: Path, data_path: Path, cache: Path | None) -> None:
    dataset = read_dataset(data_path)
    checkpoint = read_checkpoint(path)
    engine = TorchEngine(checkpoint)
    report = measure(engine, checkpoint, dataset, encode_titles(engine, checkpoint, dataset, cache))
    print_rows(report.rows)
    for age, intervals in report.text_gain.items():
        print_intervals(f"text columns, {age}: with minus without (95 % by video)", intervals)
    print(f"viral_score with text vectors rounded to bfloat16 moves by {report.bfloat16_change}")
    print(json.dumps({"checkpoint": checkpoint.name, "sha256": checkpoint.sha256, **report.to_dict()}))


if __name__ == "__main__":
    sys.exit(main())
