"""`./miles train --from`: rows from the scraper's snapshots, and a comparison of the new checkpoint with the
serving one on the newest fifth of the videos.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from model.checkpoint.file import DEFAULT_CHECKPOINT
from model.checkpoint.store import Checkpoint, read_checkpoint
from preprocessing.image import AS_SEEN
from training.data.database import reading
from training.data.dataset import Dataset, DatasetError, read_dataset
from training.data.snapshots import write_pairs
from training.encoders import Encoders, encoders_of, open_encoders
from training.evaluate import scorer_of
from training.measure.metrics import paired_intervals
from training.options import cache_from, reading_from
from training.outcomes.judge import Duel, sentence_of

NEWEST_FIFTH = (0.65, 0.15, 0.2)
ROWS_FILE = "snapshots.csv"


def read_rows(options: argparse.Namespace, serving: Checkpoint) -> Dataset:
    """The rows of the database; text fields and the definition of viral are those of `serving` by default.

    Raises `DatabaseError` and `DatasetError`.
    """
    address = options.database or os.environ.get("DATABASE_URL")
    if not address:
        raise DatasetError("--from: name the database, or set DATABASE_URL")
    path = cache_from(options) / ROWS_FILE
    with reading(address) as connection:
        print(f"{path}: {write_pairs(connection, path)}", flush=True)
    how = reading_from(options)
    how = replace(
        how,
        text=how.text or serving.card.text_fields,
        allow_bad_rows=True,
        shares=NEWEST_FIFTH,
        viral_velocity=None if options.viral_quantile is not None else serving.card.viral_above,
    )
    return read_dataset(path, how)


def read_serving(options: argparse.Namespace) -> Checkpoint:
    """The checkpoint to beat. Raises `CheckpointError`."""
    path = options.against or Path(os.environ.get("MILES_CHECKPOINT") or DEFAULT_CHECKPOINT)
    return read_checkpoint(path)


def encoders_for(options: argparse.Namespace, serving: Checkpoint | None) -> Encoders:
    """The encoders that `options` name; if none, those of the serving checkpoint if there is one."""
    if serving is not None and options.text_encoder is None and options.image_encoder is None:
        encoders = encoders_of(serving)
        is_half = options.half_scale or serving.card.image.scale == "half"
        return replace(encoders, reading=replace(AS_SEEN, scale="half")) if is_half else encoders
    return open_encoders(
        options.text_encoder,
        options.image_encoder,
        options.seed,
        options.text_pooling,
        half_scale=options.half_scale,
    )


def compare(options: argparse.Namespace, serving: Checkpoint, fitted: Checkpoint, dataset: Dataset) -> Duel:
    """The fitted checkpoint against the serving one on the test split, nothing hidden, paired by video."""
    options.cache = cache_from(options)
    new, served = (
        scorer.predict(scorer.inputs(dataset.test), dataset.test)
        for scorer in (scorer_of(options, each, dataset) for each in (fitted, serving))
    )
    videos = dataset.test.video_ids
    differences = paired_intervals(new, served, videos)
    return Duel(options.out.name, serving.card.name, len(videos), len(set(videos)), differences)


def print_next_step(options: argparse.Namespace, duel: Duel) -> None:
    print(sentence_of(duel))
    if duel.verdict == "worse":
        print("keep the serving checkpoint")
        return
    print(
        f"try it alongside the served one with MILES_SHADOW_CHECKPOINT={options.out}, or move it to "
        "MILES_CHECKPOINT and POST /admin/reload"
    )
