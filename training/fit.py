"""Trains the fusion head on frozen encoders and writes the checkpoint, its figures and a model card.

    ./miles train DATA --out models/model_full.pt
        [--column title=headline ...] [--thumbnails DIR|urls|none] [--text title,description]
        [--text-encoder random|DIR|bert-base-uncased] [--image-encoder random|FILE|imagenet]
        [--allow-bad-rows] [--seed N] [--cache DIR] [--results DIR] [--overwrite] ...

DATA is a CSV, CSV.gz or Parquet file with a request's columns and a target; see `--help`. Twin heads without
text and without images are trained as well, to measure what those inputs add. The encoders' vectors are
cached, so that an interrupted run continues where it stopped.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model.checkpoint.store import Checkpoint, write_checkpoint
from model.demo import SOURCE, DemoError, compose, is_demo, read_demo, write_demo
from model.low_rank import LowRankHead
from model.pretrained import EncoderSourceError
from model.torch_engine import DeviceError, TorchEngine
from training.data.dataset import Dataset, DatasetError, read_dataset
from training.data.leakage import refuse_leaks
from training.embeddings.images import ImageEmbeddings, encode_thumbnails
from training.embeddings.text import TextEmbeddings, encode_texts
from training.embeddings.thumbnails import ThumbnailSource
from training.encoders import Encoders, open_encoders
from training.evaluate import Report, intervals_to_dict, measure, print_intervals, print_rows
from training.golden import golden_answers
from training.head.fit import fit_head, untrained_checkpoint
from training.head.train import Recipe
from training.metrics import figure_intervals, paired_intervals
from training.options import (
    add_data_options,
    add_fit_options,
    cache_from,
    reading_from,
    recipe_from,
    thumbnails_from,
)
from training.provenance import provenance, with_source
from training.results import phase1_results, write_results
from training.row_statistics import title_statistics, training_distributions

AGES = ("with age", "without age")


@dataclass(frozen=True)
class Fit:
    """A measured checkpoint, its head's factors, and the contents of `phase1_results.json`."""

    checkpoint: Checkpoint
    head: LowRankHead
    results: dict[str, Any]


def fit(
    dataset: Dataset,
    encoders: Encoders,
    recipe: Recipe,
    seed: int,
    cache: Path | None = None,
    thumbnails: ThumbnailSource | None = None,
    device: str = "cpu",
) -> Fit:
    """Train, calibrate, measure on test, and add golden answers."""
    base = untrained_checkpoint(encoders, dataset, recipe, seed)
    engine = TorchEngine(base, device)
    texts = encode_texts(engine, base, dataset, cache)
    images = None if thumbnails is None else encode_thumbnails(engine, base, dataset, thumbnails, cache)
    _print_problems(images)
    print("training the head", flush=True)
    checkpoint, head = fit_head(base, dataset, texts, recipe, seed, images)
    _check_temperature(checkpoint, dataset)
    report = measure(TorchEngine(checkpoint), checkpoint, dataset, texts, images)
    twins = _twins(base, dataset, texts, recipe, seed, images)
    checkpoint = checkpoint.with_card(
        test_metrics=_compare(report, twins, dataset),
        golden=golden_answers(TorchEngine(checkpoint), checkpoint),
        distributions=training_distributions(
            TorchEngine(checkpoint), checkpoint, dataset.train, texts, images
        ),
        titles=title_statistics(dataset.train, texts.of(dataset.train.videos)),
        provenance=provenance(dataset, encoders, recipe, seed, images),
    )
    results = phase1_results(checkpoint, dataset, images, _intervals(report, dataset))
    return Fit(checkpoint, head, results)


def _check_temperature(checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Raise `DatasetError` for a temperature with which the checkpoint could not be read."""
    try:
        checkpoint.with_card()
    except ValidationError as exc:
        raise DatasetError(
            f"{dataset.name}: the calibration on val gives a temperature of {checkpoint.card.temperature:g}, "
            "expected 0.01 to 100; bring more videos, or other rows for val"
        ) from exc


def _twins(
    base: Checkpoint,
    dataset: Dataset,
    texts: TextEmbeddings,
    recipe: Recipe,
    seed: int,
    images: ImageEmbeddings | None,
) -> dict[str, Report]:
    """Measurements of the same head without some inputs; `twin` has no text."""
    wanted = {"twin": (replace(recipe, text_dims=0), images)}
    if images is not None:
        wanted["twin_without_image"] = (replace(recipe, image_dims=0), None)
        wanted["scalars_alone"] = (replace(recipe, text_dims=0, image_dims=0), None)
    reports = {}
    for name, (other, seen) in wanted.items():
        print(f"training {name.replace('_', ' ')}", flush=True)
        checkpoint, _ = fit_head(base, dataset, texts, other, seed, seen)
        reports[name] = measure(TorchEngine(checkpoint), checkpoint, dataset, texts, seen)
    return reports


def _compare(report: Report, twins: dict[str, Report], dataset: Dataset) -> dict[str, Any]:
    """The metrics of the head and its twins, and the paired differences."""
    print_rows({**report.rows, **{f"{name}, {age}": twins[name].rows[age] for name in twins for age in AGES}})
    figures = report.to_dict()
    for name, twin in twins.items():
        for age, key in zip(AGES, (name, f"{name}_without_age"), strict=True):
            gain = paired_intervals(
                report.test_predictions[age], twin.test_predictions[age], dataset.test.video_ids
            )
            print_intervals(f"against {name}, {age} (95% by video)", gain)
            figures[key] = twin.rows[age].to_dict()
            figures[f"gain_over_{key}"] = intervals_to_dict(gain)
    return figures


def _intervals(report: Report, dataset: Dataset) -> dict[str, Any]:
    """The 95% interval of every metric, with age and without."""
    return {
        age: intervals_to_dict(
            figure_intervals(
                report.test_predictions[age], report.rows[age].f1_threshold, dataset.test.video_ids
            )
        )
        for age in AGES
    }


def _print_problems(images: ImageEmbeddings | None) -> None:
    for line in [] if images is None else images.problem_lines():
        print(line, file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Fit and write. Returns 1 after an error, which is one message on stderr."""
    parser = argparse.ArgumentParser(prog="./miles train", description=(__doc__ or "").split("\n")[0])
    add_data_options(parser)
    add_fit_options(parser)
    options = parser.parse_args(arguments)
    try:
        _run(options)
    except (DatasetError, DemoError, EncoderSourceError, DeviceError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to continue from the cached vectors", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    out: Path = options.out
    if out.exists() and not options.overwrite and not is_demo(out):
        raise DemoError(f"{out}: exists and is not the demo; use --overwrite to replace it")
    # The file first: its errors are reported before gigabytes of encoders are read.
    dataset = read_dataset(options.data, reading_from(options))
    print_data_summary(dataset)
    refuse_leaks(dataset)
    encoders = open_encoders(options.text_encoder, options.image_encoder, options.seed, options.text_pooling)
    if options.demo_head and not encoders.are_composable:
        raise DemoError(
            "--demo-head stores no encoder weights: use --text-encoder minilm or random, and "
            "--image-encoder random"
        )
    fitted = fit(
        dataset,
        encoders,
        recipe_from(options),
        options.seed,
        cache_from(options),
        thumbnails_from(options),
        options.device,
    )
    checkpoint = fitted.checkpoint
    if options.demo_head:
        checkpoint = checkpoint.with_card(provenance=with_source(checkpoint, SOURCE))
        write_demo(options.demo_head, checkpoint, fitted.head)
        checkpoint = compose(read_demo(options.demo_head))
        print(f"{options.demo_head}: demo head and metadata written")
    write_checkpoint(out, checkpoint)
    for path in [out, *write_results(options.results or out.parent, out.name, fitted.results)]:
        print(f"{path}: written")


def print_data_summary(dataset: Dataset) -> None:
    """Print the rows read, the rows left out with reasons, and the notes."""
    parts = ", ".join(
        f"{name} {len(dataset.split(name)):,} rows of {len(set(dataset.split(name).video_ids)):,} videos"
        for name in ("train", "val", "test")
    )
    print(f"{dataset.name}: {dataset.rows_in_file:,} rows; {parts}; purged {dataset.purged_rows:,}")
    print(f"split {dataset.split_method}")
    if dataset.bad_rows:
        print(f"left out {len(dataset.bad_rows)} rows that cannot be used")
    for line in [*dataset.bad_rows.lines(), dataset.bad_rows.empty_line(), *dataset.notes]:
        if line:
            print(line)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
