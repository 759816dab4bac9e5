"""Plots a checkpoint against simple methods: one HTML page and its PNGs.

    ./miles report CHECKPOINT DATA --out DIR [--older CHECKPOINT ...] [--cache DIR] ...

DIR gets index.html, a self-contained page; the plots of its light theme as PNG; and report.json with every
number. The sentence and verdict of each plot are printed too. Fitting the simple methods takes minutes.
"""

import argparse
import json
import sys
from pathlib import Path

from model.checkpoint.store import Checkpoint, read_checkpoint
from training.commands import main
from training.data.dataset import SPLITS, Dataset
from training.evaluate import open_scorer, scorer_of
from training.measure.metrics import plain
from training.options import thumbnails_from
from training.report.findings import Findings, find
from training.report.page import MARKS, render
from training.report.palette import drawn
from training.report.plots import PLOTS
from training.report.sentences import captions

NO_IMAGES = "no images in this data"


def run(options: argparse.Namespace) -> int:
    """Measure, draw and write. Raises `CheckpointError`, `DatasetError` and `OSError`."""
    options.out.mkdir(parents=True, exist_ok=True)  # before the minutes of encoding
    scorer, checkpoint, dataset = open_scorer(options)
    older = {path.name: scorer_of(options, read_checkpoint(path), dataset) for path in options.older}
    reason = "" if scorer.images else why_no_images(options, checkpoint, dataset)
    write(options.out, find(scorer, dataset, older, reason), checkpoint, dataset)
    return 0


def why_no_images(options: argparse.Namespace, checkpoint: Checkpoint, dataset: Dataset) -> str:
    """The reason why the thumbnails were not scored, as the end of a sentence."""
    source = thumbnails_from(options)
    if source is None:
        return "thumbnails were not asked for"
    if not any(place for name in SPLITS for place in source.places(dataset.split(name))):
        return NO_IMAGES
    has_no_weight = "image" in checkpoint.card.zero_weight_modalities
    return "this model gives images no weight" if has_no_weight else NO_IMAGES


def write(folder: Path, findings: Findings, checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Write the page, the pictures and the numbers into `folder`, and print the sentences."""
    words = captions(findings)
    pictures = {name: drawn(plot, findings) for name, plot in PLOTS.items()}
    numbers = {"checkpoint": checkpoint.card.name, "sha256": checkpoint.card.sha256, **plain(findings)}
    files = {f"{name}.png": picture.light for name, picture in pictures.items()}
    files["index.html"] = render(findings, words, pictures, checkpoint, dataset).encode()
    files["report.json"] = (json.dumps(numbers, indent=1) + "\n").encode()
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
    for caption in words.values():
        print(f"{MARKS[caption.verdict]}: {caption.title}. {caption.sentence}")
    print(f"{folder / 'index.html'}: written, with {len(pictures)} pictures beside it")


if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
