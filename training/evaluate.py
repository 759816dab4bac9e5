"""Measures a checkpoint on the test split, by what is known about a video and by its age.

    ./miles evaluate CHECKPOINT DATA [--compare] [--cache DIR] [--column FIELD=COLUMN ...] [--thumbnails DIR]

Any checkpoint that the service reads can be measured, through the same engine, tokenizer and features. With
--compare, gradient boosting and a linear model are fitted on the same inputs and measured too, which takes
minutes. The last line on stdout is JSON.
"""

import argparse
import json
import sys
from dataclasses import replace

from model.checkpoint.store import Checkpoint, read_checkpoint
from model.torch_engine import TorchEngine
from training.commands import main
from training.data.dataset import Dataset, read_dataset
from training.embeddings.images import encode_thumbnails
from training.embeddings.text import encode_texts
from training.measure.compare import compare, lines_of
from training.measure.evaluation import Report, measure
from training.measure.metrics import Interval, MetricsRow, plain
from training.measure.scorer import Scorer
from training.options import reading_from, thumbnails_from

COLUMNS = ("auroc", "pr_auc", "f1", "brier", "ece", "mae", "r2", "nmse", "spearman", "lift", "coverage")


def print_rows(rows: dict[str, MetricsRow], title: str = "test split") -> None:
    """Print a table for people; a missing figure is a dash."""
    shown = [name for name in COLUMNS if any(getattr(row, name) is not None for row in rows.values())]
    print(f"{title:44s}" + "".join(f"{name:>10s}" for name in shown))
    for name, row in rows.items():
        values = (getattr(row, column) for column in shown)
        print(f"{name:44s}" + "".join(f"{'-':>10s}" if v is None else f"{v:10.3f}" for v in values))


def print_intervals(title: str, intervals: dict[str, Interval]) -> None:
    """One line per figure: the difference and its interval."""
    for name, interval in intervals.items():
        print(f"{title}, {name}: {interval:+.4f}")


def print_report(report: Report) -> None:
    print_rows(report.rows)
    for title, groups in (("by age of the video", report.by_age), ("by what is known", report.by_pattern)):
        rows = {f"{name} ({group.rows:,} rows)": group.figures for name, group in groups.items()}
        print_rows(rows, f"{report.first}, {title}")
    for modality, gains in report.gains.items():
        for name, intervals in gains.items():
            print_intervals(f"{name}: with minus without {modality} (95% by video)", intervals)
    for name, intervals in report.intervals.items():
        print(f"{name}: Spearman {intervals['spearman']:.3f}")


def open_scorer(options: argparse.Namespace) -> tuple[Scorer, Checkpoint, Dataset]:
    """The scorer, with every text and thumbnail encoded; the checkpoint and the dataset."""
    checkpoint = read_checkpoint(options.checkpoint)
    # A checkpoint is measured on the text fields that it reads.
    dataset = read_dataset(options.data, replace(reading_from(options), text=checkpoint.card.text_fields))
    return scorer_of(options, checkpoint, dataset), checkpoint, dataset


def scorer_of(options: argparse.Namespace, checkpoint: Checkpoint, dataset: Dataset) -> Scorer:
    """A scorer with the texts and thumbnails that the checkpoint reads encoded; prints their problems."""
    engine = TorchEngine(checkpoint)
    texts = encode_texts(engine, checkpoint, dataset, options.cache)
    images, source = None, thumbnails_from(options)
    if source is not None and "image" not in checkpoint.card.zero_weight_modalities:
        images = encode_thumbnails(engine, checkpoint, dataset, source, options.cache)
    for line in images.problem_lines() if images else []:
        print(line)
    return Scorer(engine, checkpoint, dataset, texts, images)


def run(options: argparse.Namespace) -> int:
    """Measure and print. Raises `CheckpointError` and `DatasetError`."""
    scorer, checkpoint, dataset = open_scorer(options)
    report = measure(scorer, dataset)
    print_report(report)
    figures = {"checkpoint": checkpoint.card.name, "sha256": checkpoint.card.sha256, **report.to_dict()}
    if options.compare:
        comparisons = compare(report.answers, scorer, dataset)
        print("\n".join(lines_of(comparisons)))
        figures["comparison"] = plain(comparisons)
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
