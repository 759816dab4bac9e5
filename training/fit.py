"""Trains the fusion head on frozen encoders and writes the checkpoint, its figures and a model card.

    ./miles train DATA --out models/model_full.pt
        [--column title=headline ...] [--thumbnails DIR|urls|none] [--text title,description]
        [--text-encoder random|DIR|bert-base-uncased] [--image-encoder random|FILE|imagenet]
        [--allow-bad-rows] [--seed N] [--cache DIR] [--results DIR] [--overwrite] ...

DATA is a CSV, CSV.gz or Parquet file with a request's columns and a target; see `--help`. A head is trained
on the scalars only, with text, with images, and with both; the one with the lowest loss on val is written.
The encoders' vectors are cached, so that an interrupted run continues where it stopped.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from features import MILES_V2
from model.checkpoint.store import Checkpoint, write_checkpoint
from model.demo import SOURCE, DemoError, compose, is_demo, read_demo, write_demo
from model.low_rank import LowRankHead
from model.pretrained import EncoderSourceError
from model.torch_engine import DeviceError, TorchEngine
from training.data.dataset import Dataset, DatasetError, read_dataset
from training.data.leakage import refuse_leaks
from training.embeddings.images import ImageEmbeddings, encode_thumbnails
from training.embeddings.text import TextEmbeddings, encode_texts, no_texts
from training.embeddings.thumbnails import ThumbnailSource
from training.encoders import Encoders, open_encoders
from training.evaluate import Report, intervals_to_dict, measure, print_intervals, print_rows
from training.golden import golden_answers
from training.head.fit import Trained, fit_head, untrained_checkpoint
from training.head.knowns import left_out
from training.head.train import Recipe
from training.metrics import best_f1_threshold, figure_intervals, metrics_row, paired_intervals
from training.options import (
    add_data_options,
    add_fit_options,
    cache_from,
    reading_from,
    recipe_from,
    thumbnails_from,
)
from training.provenance import provenance, with_source
from training.report.baselines import LABELS, baseline_predictions
from training.results import phase1_results, write_results
from training.row_statistics import title_statistics, training_distributions
from training.text_effect import meaningful_difference

AGES = ("with age", "without age")
SCALARS, TEXT, IMAGE, BOTH = "scalars", "scalars and text", "scalars and image", "scalars, text and image"
# Whether each reads text and images; the first with the lowest loss on val is written.
CANDIDATES = {SCALARS: (False, False), TEXT: (True, False), IMAGE: (False, True), BOTH: (True, True)}
# The names of their figures among the checkpoint's metrics, without images and with: `twin` reads no text.
TWINS = ({SCALARS: "twin"}, {IMAGE: "twin", TEXT: "twin_without_image", SCALARS: "scalars_alone"})


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
    # A head without text needs no vectors of titles.
    texts = encode_texts(engine, base, dataset, cache) if recipe.text_dims else no_texts(base, dataset)
    images = None if thumbnails is None else encode_thumbnails(engine, base, dataset, thumbnails, cache)
    _print_problems(images)
    candidates = _train_candidates(base, dataset, texts, recipe, seed, images)
    chosen = min(candidates, key=lambda name: candidates[name].loss)
    _print_choice(candidates, chosen)
    checkpoint = candidates[chosen].checkpoint
    reports = {
        name: measure(
            TorchEngine(trained.checkpoint), trained.checkpoint, dataset, texts, _seen(images, trained)
        )
        for name, trained in candidates.items()
    }
    titles = title_statistics(dataset.train, texts.of(dataset.train.videos))
    mean_text = np.array(titles["mean_vector"], dtype=np.float32)
    if not recipe.text_dims:
        del titles["mean_vector"]
    checkpoint = checkpoint.with_card(
        test_metrics={
            **_compare(chosen, reports, dataset),
            "chosen": chosen,
            "candidates": {
                name: {
                    "val_loss": trained.loss,
                    **{age: reports[name].rows[age].to_dict() for age in AGES},
                }
                for name, trained in candidates.items()
            },
            "baselines": _baselines(dataset),
        },
        golden=golden_answers(TorchEngine(checkpoint), checkpoint),
        distributions=training_distributions(
            TorchEngine(checkpoint), checkpoint, dataset.train, texts, images
        ),
        titles=titles,
        meaningful_difference=meaningful_difference(checkpoint, dataset, texts, mean_text),
        provenance=provenance(dataset, encoders, recipe, seed, images),
    )
    results = phase1_results(checkpoint, dataset, images, _intervals(reports[chosen], dataset))
    return Fit(checkpoint, candidates[chosen].head, results)


def _train_candidates(
    base: Checkpoint,
    dataset: Dataset,
    texts: TextEmbeddings,
    recipe: Recipe,
    seed: int,
    images: ImageEmbeddings | None,
) -> dict[str, Trained]:
    """A head for each combination of inputs, the one with all of them first."""
    candidates = {}
    for name, (text, image) in CANDIDATES.items():
        if (image and images is None) or (text and not recipe.text_dims):
            continue
        print(f"training the head on {name}", flush=True)
        own = replace(
            recipe, text_dims=recipe.text_dims if text else 0, image_dims=recipe.image_dims if image else 0
        )
        candidates[name] = fit_head(base, dataset, texts, own, seed, images)
    return candidates


def _print_choice(candidates: dict[str, Trained], chosen: str) -> None:
    losses = ", ".join(f"{trained.loss:.4f} with {name}" for name, trained in candidates.items())
    print(f"loss on val: {losses}. The checkpoint has the head on {chosen}.", flush=True)


def _seen(images: ImageEmbeddings | None, trained: Trained) -> ImageEmbeddings | None:
    return None if "image" in trained.checkpoint.card.zero_weight_modalities else images


def _baselines(dataset: Dataset) -> dict[str, Any]:
    """The figures of gradient boosting and a linear model on the same scalars."""
    figures: dict[str, Any] = {}
    for age in AGES:
        for key, fitted in baseline_predictions(dataset, MILES_V2, with_age=age == AGES[0]).items():
            if key in ("linear", "boosting"):
                row = metrics_row(fitted.test, best_f1_threshold(fitted.val))
                figures[f"{LABELS[key]}, {age}"] = row
    print_rows(figures)
    return {name: row.to_dict() for name, row in figures.items()}


def _compare(chosen: str, reports: dict[str, Report], dataset: Dataset) -> dict[str, Any]:
    """The metrics of the chosen head and of the others, and the paired differences."""
    report = reports[chosen]
    print_rows({f"{name}, {age}": each.rows[age] for name, each in reports.items() for age in AGES})
    figures = report.to_dict()
    for name, key in TWINS[IMAGE in reports].items():
        for age, ending in zip(AGES, ("", "_without_age"), strict=True):
            gain = paired_intervals(
                report.test_predictions[age], reports[name].test_predictions[age], dataset.test.video_ids
            )
            if name != chosen:
                print_intervals(f"{chosen} against {name}, {age} (95% by video)", gain)
            figures[key + ending] = reports[name].rows[age].to_dict()
            figures[f"gain_over_{key}{ending}"] = intervals_to_dict(gain)
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
    for sentence in left_out(dataset):
        print(sentence, flush=True)
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
