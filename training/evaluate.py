"""Measures a checkpoint on the test split: every figure, with and without age, with and without text.

    ./miles evaluate CHECKPOINT DATA [--cache DIR] [--column FIELD=COLUMN ...] [--thumbnails DIR]

Any checkpoint that the service reads can be measured, through the same engine, tokenizer and features.
The last line on stdout is JSON.
"""

import argparse
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from features import FeatureScaler, UnknownFeatureError, compute_features
from model.checkpoint.store import Checkpoint, CheckpointError, read_checkpoint
from model.engine import Engine, Vectors
from model.torch_engine import TorchEngine
from training.data.dataset import Dataset, DatasetError, Split, read_dataset, without_age
from training.embeddings.images import ImageEmbeddings, encode_thumbnails
from training.embeddings.text import TextEmbeddings, encode_texts
from training.metrics import (
    Interval,
    MetricsRow,
    Predictions,
    best_f1_threshold,
    metrics_row,
    paired_intervals,
)
from training.options import add_data_options, reading_from, thumbnails_from

COLUMNS = ("auroc", "pr_auc", "f1", "brier", "ece", "mae", "r2", "spearman")
AGES = {"with age": True, "without age": False}


@dataclass(frozen=True)
class Report:
    """Figures by condition; `text_gain` is with text minus without, for each kind of request."""

    rows: dict[str, MetricsRow]
    text_gain: dict[str, dict[str, Interval]]
    bfloat16_change: dict[str, float]
    test_predictions: dict[str, Predictions]
    image_gain: dict[str, dict[str, Interval]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the headline figures at the top (with age, with text), the others by condition."""
        figures = {
            **self.rows["with age"].to_dict(),
            "without_age": self.rows["without age"].to_dict(),
            "without_text": self.rows["with age, without text"].to_dict(),
            "without_age_without_text": self.rows["without age, without text"].to_dict(),
            "text_gain": intervals_to_dict(self.text_gain["with age"]),
            "text_gain_without_age": intervals_to_dict(self.text_gain["without age"]),
            "viral_score_change_with_bfloat16_text": self.bfloat16_change,
        }
        if self.image_gain:
            figures["without_image"] = self.rows["with age, without image"].to_dict()
            figures["without_age_without_image"] = self.rows["without age, without image"].to_dict()
            figures["image_gain"] = intervals_to_dict(self.image_gain["with age"])
            figures["image_gain_without_age"] = intervals_to_dict(self.image_gain["without age"])
        return figures


def intervals_to_dict(intervals: dict[str, Interval]) -> dict[str, dict[str, float]]:
    """Plain values by figure."""
    return {name: interval.to_dict() for name, interval in intervals.items()}


def predict(
    engine: Engine,
    checkpoint: Checkpoint,
    split: Split,
    text: Vectors,
    *,
    with_age: bool = True,
    image: Vectors | None = None,
) -> Predictions:
    """What `checkpoint` says of `split`, given (N, D) text vectors and image vectors; None: no thumbnails."""
    card, videos = checkpoint.card, split.videos if with_age else without_age(split.videos)
    scaler = FeatureScaler.from_stats(card.feature_stats, card.scalar_features)
    scalars = scaler.transform(compute_features(videos, card.scalar_features))
    if image is None:
        image = np.broadcast_to(engine.neutral_image, (len(split), len(engine.neutral_image)))
    scores = engine.score(text, image, scalars)
    return Predictions(scores.viral, np.log1p(scores.velocity), split.is_viral, np.log1p(split.views_per_day))


def measure(
    engine: Engine,
    checkpoint: Checkpoint,
    dataset: Dataset,
    texts: TextEmbeddings,
    images: ImageEmbeddings | None = None,
) -> Report:
    """All figures on the test split. F1's threshold is the best one on val, for each condition alone."""
    train_text = texts.of(dataset.train.videos)
    mean_text = np.average(train_text, axis=0, weights=dataset.train.weights).astype(np.float32)
    lacking = ("", "text") if images is None else ("", "text", "image")
    rows, predictions = {}, {}
    for age, with_age in AGES.items():
        for lacks in lacking:
            condition = f"{age}, without {lacks}" if lacks else age
            pair = {}
            for name in ("val", "test"):
                split = dataset.split(name)
                text = texts.of(split.videos)
                text = np.broadcast_to(mean_text, text.shape) if lacks == "text" else text
                image = None if images is None or lacks == "image" else images.of(split)
                pair[name] = predict(engine, checkpoint, split, text, with_age=with_age, image=image)
            predictions[condition] = pair["test"]
            rows[condition] = metrics_row(pair["test"], best_f1_threshold(pair["val"]))
    ids = dataset.test.video_ids
    gains = {
        lacks: {
            age: paired_intervals(predictions[age], predictions[f"{age}, without {lacks}"], ids)
            for age in AGES
        }
        for lacks in lacking[1:]
    }
    change = _bfloat16_change(engine, checkpoint, dataset.test, texts, images)
    return Report(rows, gains["text"], change, predictions, gains.get("image", {}))


def _bfloat16_change(
    engine: Engine,
    checkpoint: Checkpoint,
    split: Split,
    texts: TextEmbeddings,
    images: ImageEmbeddings | None,
) -> dict[str, float]:
    """How far viral_score moves when the text vectors lose all but bfloat16's eight bits of mantissa."""
    text = texts.of(split.videos)
    rounded = torch.from_numpy(text).bfloat16().float().numpy()
    image = None if images is None else images.of(split)
    scores = [predict(engine, checkpoint, split, each, image=image).viral for each in (text, rounded)]
    moved = np.abs(scores[1] - scores[0])
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
    parser = argparse.ArgumentParser(prog="./miles evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="any checkpoint that the service reads")
    add_data_options(parser)
    parser.add_argument(
        "--cache", type=Path, help="a folder for the vectors, which makes the next run faster"
    )
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (CheckpointError, DatasetError, UnknownFeatureError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    checkpoint = read_checkpoint(options.checkpoint)
    # What the checkpoint reads decides which texts it is measured on.
    dataset = read_dataset(options.data, replace(reading_from(options), text=checkpoint.card.text_fields))
    engine = TorchEngine(checkpoint)
    texts = encode_texts(engine, checkpoint, dataset, options.cache)
    images, source = None, thumbnails_from(options)
    if source is not None and "image" not in checkpoint.card.zero_weight_modalities:
        images = encode_thumbnails(engine, checkpoint, dataset, source, options.cache)
    report = measure(engine, checkpoint, dataset, texts, images)
    print_rows(report.rows)
    for what, gains in (("text", report.text_gain), ("image", report.image_gain)):
        for age, intervals in gains.items():
            print_intervals(f"{what} columns, {age}: with minus without (95 % by video)", intervals)
    print(f"viral_score with text vectors rounded to bfloat16 moves by {report.bfloat16_change}")
    card = checkpoint.card
    print(json.dumps({"checkpoint": card.name, "sha256": card.sha256, **report.to_dict()}))


if __name__ == "__main__":
    sys.exit(main())
