"""Outcomes of scored videos as figures, a page or metrics; `./miles outcomes --help` explains it."""

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path

from model.card import ModelCard
from model.checkpoint.file import CheckpointError
from model.compiled.bundle import read_bundle
from model.compiled.files import is_bundle
from training.commands import main
from training.data.database import reading
from training.data.table import DatasetError
from training.outcomes.judge import Outcomes, judge, lines_of, selection
from training.outcomes.looks import looks
from training.outcomes.watch import watch


def run(options: argparse.Namespace) -> int:
    """Judge and print, or serve until stopped. Raises `DatasetError` and `OSError`."""
    address = options.database or os.environ.get("DATABASE_URL")
    if not address:
        raise DatasetError("name the database: ./miles outcomes DATABASE_URL, or set DATABASE_URL")
    threshold = options.viral_velocity or viral_velocity_of(options.checkpoint)
    compute = partial(_compute, address, threshold, options)
    if options.watch:
        watch(compute, options.watch, options.host, options.port)
        return 0
    outcomes = compute()
    print("\n".join([*lines_of(outcomes), selection(outcomes)]))
    print(json.dumps(outcomes.to_dict()))
    return 0


def viral_velocity_of(path: Path) -> float:
    """The views per day above which the checkpoint was trained to call a video viral.

    Raises `DatasetError` for a checkpoint that cannot be read, or whose card does not say.
    """
    threshold = card_of(path).viral_above
    if threshold is None:
        raise DatasetError(
            f"{path}: does not say above how many views per day a video is viral; add --viral-velocity VIEWS"
        )
    return threshold


def card_of(path: Path) -> ModelCard:
    """The card of a checkpoint or of a bundle. Raises `DatasetError`."""
    try:
        if is_bundle(path):
            return read_bundle(path).card
        from model.checkpoint.store import read_checkpoint  # imports torch

        return read_checkpoint(path).card
    except CheckpointError as exc:
        raise DatasetError(f"{exc} Name another --checkpoint, or add --viral-velocity VIEWS.") from exc


def _compute(address: str, viral_above: float, options: argparse.Namespace) -> Outcomes:
    with reading(address) as connection:
        found = looks(connection, options.days)
    outcomes = judge(found, viral_above)
    if options.out:
        _write(options.out, outcomes)
    return outcomes


def _write(folder: Path, outcomes: Outcomes) -> None:
    """Write each file completely or not at all."""
    from training.outcomes.page import render  # imports torch and matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(outcomes.to_dict(), indent=1) + "\n"
    for name, text in {"outcomes.json": numbers, "index.html": render(outcomes)}.items():
        unfinished = folder / f".{name}.unfinished"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / name)


if __name__ == "__main__":
    sys.exit(main(["outcomes", *sys.argv[1:]]))
