"""Draws a checkpoint beside simple methods: one HTML page and its PNGs.

    ./miles report CHECKPOINT DATA --out DIR [--cache DIR] [--column FIELD=COLUMN ...]

DIR gets index.html, a self-contained page; the plots of its light theme as PNG; and
report.json with every number. The sentence and verdict of each plot are printed too.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from features import UnknownFeatureError
from model.checkpoint.store import Checkpoint, CheckpointError, read_checkpoint
from model.torch_engine import TorchEngine
from training.data.dataset import SPLITS, Dataset, DatasetError, read_dataset
from training.embeddings.images import ImageEmbeddings, encode_thumbnails
from training.embeddings.text import encode_texts
from training.options import add_data_options, reading_from, thumbnails_from
from training.report.findings import Findings, find
from training.report.page import MARKS, Picture, render
from training.report.palette import DARK, DPI, LIGHT, drawing, to_png
from training.report.plots import PLOTS, Plot
from training.report.scorer import NO_IMAGES, Scorer
from training.report.sentences import captions


class ReportError(ValueError):
    """A folder that the report cannot be written to."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, draw and write; the exit status is 1 after an error, which goes to stderr in one line."""
    options = arguments_of(arguments)
    try:
        _make_folder(options.out)  # before the minutes of encoding
        _run(options)
    except (CheckpointError, DatasetError, ReportError, UnknownFeatureError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def arguments_of(arguments: list[str] | None) -> argparse.Namespace:
    """The command line, read."""
    parser = argparse.ArgumentParser(prog="./miles report", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="any checkpoint that the service reads")
    add_data_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument(
        "--cache", type=Path, help="a folder for the vectors, which makes the next report faster"
    )
    return parser.parse_args(arguments)


def _run(options: argparse.Namespace) -> None:
    scorer, checkpoint, dataset = open_scorer(options)
    write(options.out, find(scorer, dataset), checkpoint, dataset)


def open_scorer(options: argparse.Namespace) -> tuple[Scorer, Checkpoint, Dataset]:
    """What the command line names, with every text and thumbnail encoded."""
    checkpoint = read_checkpoint(options.checkpoint)
    # What the checkpoint reads decides which texts it is judged on.
    dataset = read_dataset(options.data, replace(reading_from(options), text=checkpoint.card.text_fields))
    engine = TorchEngine(checkpoint)
    texts = encode_texts(engine, checkpoint, dataset, options.cache)
    images, why_none = _images(options, engine, checkpoint, dataset)
    return Scorer(engine, checkpoint, dataset, texts, images, why_none), checkpoint, dataset


def _images(
    options: argparse.Namespace, engine: TorchEngine, checkpoint: Checkpoint, dataset: Dataset
) -> tuple[ImageEmbeddings | None, str]:
    """The thumbnails' vectors, or why there are none."""
    source = thumbnails_from(options)
    if source is None:
        return None, "thumbnails were not asked for"
    if not any(place for name in SPLITS for place in source.places(dataset.split(name))):
        return None, NO_IMAGES
    if "image" in checkpoint.card.zero_weight_modalities:
        return None, "this model gives images no weight"
    images = encode_thumbnails(engine, checkpoint, dataset, source, options.cache)
    for line in images.problem_lines() if images else []:
        print(line)
    return images, NO_IMAGES


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ReportError(
            f"{folder}: no folder can be made there ({exc.strerror}); name another --out"
        ) from exc


def write(folder: Path, findings: Findings, checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Write the page, the pictures and the numbers into `folder`, and print the sentences.

    Raises `ReportError` where a file cannot be written.
    """
    words = captions(findings)
    pictures = draw(findings)
    numbers = {"checkpoint": checkpoint.card.name, "sha256": checkpoint.card.sha256, **findings.to_dict()}
    files = {f"{name}.png": picture.light for name, picture in pictures.items()}
    files["index.html"] = render(findings, words, pictures, checkpoint, dataset).encode()
    files["report.json"] = (json.dumps(numbers, indent=1) + "\n").encode()
    try:
        for name, contents in files.items():
            (folder / name).write_bytes(contents)
    except OSError as exc:
        raise ReportError(f"{folder}: cannot be written to ({exc}); name another --out") from exc
    for caption in words.values():
        print(f"{MARKS[caption.verdict]}: {caption.title}. {caption.sentence}")
    print(f"{folder / 'index.html'}: written, with {len(pictures)} pictures beside it")


def draw(findings: Findings) -> dict[str, Picture]:
    """Every picture in both themes."""
    return {name: draw_one(plot, findings) for name, plot in PLOTS.items()}


def draw_one(plot: Plot, findings: Findings) -> Picture:
    """One picture in both themes."""
    drawn = {}
    for palette in (LIGHT, DARK):
        with drawing(palette):
            figure = plot(findings, palette)
            drawn[palette.name] = to_png(figure)
    return Picture(drawn["light"], drawn["dark"], round(figure.get_figheight() * DPI))


if __name__ == "__main__":
    sys.exit(main())
