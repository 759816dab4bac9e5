"""Trains the fusion head on frozen encoders and writes the checkpoint, its figures and a model card.

    ./miles train DATA --out models/model_full.pt [OPTIONS]
    ./miles train --from DATABASE_URL [--against CHECKPOINT] [--out models/model_next.pt]

DATA is a CSV, CSV.gz or Parquet file with a request's columns and a target; see `--help`. A head is trained
on the scalars only, with text, with images, and with both; the one with the lowest loss on val is written.
The encoders' vectors are cached, so that an interrupted run continues where it stopped.
`--unfreeze` trains the encoders first. With --from, the rows are the scraper's snapshots, and the new
head is compared with the serving checkpoint's; see docs/outcomes.md.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.checkpoint.store import Checkpoint, write_checkpoint
from model.demo_checkpoint import SOURCE, DemoError, compose, is_demo, read_demo, write_demo
from model.low_rank import LowRankHead
from model.torch_engine import TorchEngine
from training.commands import main
from training.data.dataset import Dataset, read_dataset
from training.data.leakage import refuse_leaks
from training.data.summary import print_data_summary
from training.embeddings.images import ImageEmbeddings, encode_thumbnails
from training.embeddings.text import TextEmbeddings, encode_texts, no_texts
from training.embeddings.thumbnails import ThumbnailSource
from training.encoders import Encoders
from training.evaluate import print_intervals, print_rows
from training.golden import golden_answers
from training.head.candidates import (
    IMAGE,
    SCALARS,
    TEXT,
    preferred_text,
    print_choice,
    recipe_of,
    train_candidates,
)
from training.head.fit import Trained, untrained_checkpoint
from training.head.knowns import features_of, left_out
from training.learn import compare, encoders_for, print_next_step, read_rows, read_serving
from training.measure.baselines import LABELS, baseline_predictions
from training.measure.conditions import conditions_of
from training.measure.evaluation import Report, measure
from training.measure.metrics import best_f1_threshold, metrics_row, paired_intervals, plain
from training.measure.scorer import Scorer
from training.options import (
    AUTO,
    cache_from,
    reading_from,
    recipe_from,
    thumbnails_from,
    tuning_from,
)
from training.provenance import provenance
from training.recipe import Recipe
from training.results import phase1_results, write_results
from training.row_statistics import meaningful_difference, title_statistics, training_distributions
from training.tracking import tracked
from training.unfreeze import unfreeze

# The twins' keys in the checkpoint's metrics, without and with images; the `twin` reads no text.
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
    candidates = train_candidates(base, dataset, texts, recipe, seed, images)
    chosen = min(candidates, key=lambda name: candidates[name].loss)
    print_choice(candidates, chosen)
    checkpoint = candidates[chosen].checkpoint
    reports = {
        name: measure(_scorer(trained, dataset, texts, images), dataset)
        for name, trained in candidates.items()
    }
    titles = title_statistics(dataset.train, texts.of(dataset.train.videos))
    mean_text = np.array(titles["mean_vector"], dtype=np.float32)
    if not recipe.text_dims:
        del titles["mean_vector"]
    checkpoint = checkpoint.with_card(
        test_metrics={
            **_compared(chosen, reports, dataset),
            "chosen": chosen,
            "candidates": {
                name: {
                    "val_loss": trained.loss,
                    "by_condition": {each: plain(reports[name].rows[each]) for each in reports[name].answers},
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
        provenance=provenance(dataset, encoders, recipe_of(chosen, recipe), seed, images),
    )
    results = phase1_results(checkpoint, dataset, images, plain(reports[chosen].intervals))
    return Fit(checkpoint, candidates[chosen].head, results)


def _baselines(dataset: Dataset) -> dict[str, Any]:
    """The figures of gradient boosting and a linear model on the same scalars, by condition."""
    rows = {}
    for condition, hide in conditions_of(dataset).items():
        for key, fitted in baseline_predictions(
            dataset, features_of(dataset), hide, only=("linear", "boosting")
        ).items():
            rows[f"{LABELS[key]}, {condition}"] = metrics_row(fitted.test, best_f1_threshold(fitted.val))
    print_rows(rows)
    return dict(plain(rows))


def _compared(chosen: str, reports: dict[str, Report], dataset: Dataset) -> dict[str, Any]:
    """The metrics of the chosen head and of the others, and the paired differences by condition."""
    report = reports[chosen]
    print_rows(
        {f"{name}, {each}": found.rows[each] for name, found in reports.items() for each in found.answers}
    )
    figures = report.to_dict()
    for name, key in TWINS[IMAGE in reports].items():
        twin = reports[name]
        gains = {
            condition: paired_intervals(answers.test, twin.answers[condition].test, dataset.test.video_ids)
            for condition, answers in report.answers.items()
        }
        for condition, gain in gains.items() if name != chosen else ():
            print_intervals(f"{chosen} against {name}, {condition} (95% by video)", gain)
        figures[key] = plain(twin.rows[twin.first])
        figures[f"gain_over_{key}"] = plain(gains[report.first])
        figures[f"gain_over_{key}_by_condition"] = plain(gains)
    return figures


def _scorer(
    trained: Trained, dataset: Dataset, texts: TextEmbeddings, images: ImageEmbeddings | None
) -> Scorer:
    """The images are left out if the head gives them no weight."""
    found = trained.checkpoint
    seen = None if "image" in found.card.zero_weight_modalities else images
    return Scorer(TorchEngine(found), found, dataset, texts, seen)


def _print_problems(images: ImageEmbeddings | None) -> None:
    for line in [] if images is None else images.problem_lines():
        print(line, file=sys.stderr)


def run(options: argparse.Namespace) -> int:
    """Fit, write, and with --from compare. Raises `CheckpointError` and `DatasetError`."""
    out: Path = options.out
    if out.exists() and not options.overwrite and not is_demo(out):
        raise DemoError(f"{out}: exists and is not the demo; use --overwrite to replace it")
    # The file first: its errors are reported before gigabytes of encoders are read.
    serving = None if options.database is None else read_serving(options)
    if serving is None:
        dataset = read_dataset(options.data, reading_from(options))
    else:
        dataset = read_rows(options, serving)
    print_data_summary(dataset)
    for sentence in left_out(dataset):
        print(sentence, flush=True)
    refuse_leaks(dataset)
    encoders = encoders_for(options, serving)
    if options.demo_head and (options.unfreeze or not encoders.are_composable):
        raise DemoError(
            "--demo-head stores no encoder weights: use --text-encoder minilm or random, and "
            "--image-encoder random, without --unfreeze"
        )
    recipe, cache = recipe_from(options), cache_from(options)
    if options.text == AUTO and serving is None:
        dataset = preferred_text(dataset, encoders, recipe, options.seed, cache, options.device)
    parameters = {"data": dataset.name, "text_encoder": options.text_encoder, "seed": options.seed}
    tuning = tuning_from(options) if options.unfreeze else None
    if tuning is not None:
        parameters |= asdict(tuning)
    with tracked(options.mlflow, parameters | asdict(recipe)) as track:
        if tuning is not None:
            encoders = unfreeze(
                *(encoders, dataset, recipe, options.seed, tuning, cache, options.device, track),
                thumbnails_from(options),
            )
        fitted = fit(dataset, encoders, recipe, options.seed, cache, thumbnails_from(options), options.device)
        track(fitted.checkpoint.card.test_metrics, 0)
    checkpoint = fitted.checkpoint
    if options.demo_head:
        checkpoint = checkpoint.with_card(provenance={**checkpoint.card.provenance, "source": SOURCE})
        write_demo(options.demo_head, checkpoint, fitted.head)
        checkpoint = compose(read_demo(options.demo_head))
        print(f"{options.demo_head}: demo head and metadata written")
    write_checkpoint(out, checkpoint)
    duel = None if serving is None else compare(options, serving, checkpoint, dataset)
    if duel is not None:
        fitted.results["against_serving"] = duel.to_dict()
    for path in [out, *write_results(options.results or out.parent, out.name, fitted.results)]:
        print(f"{path}: written")
    if duel is not None:
        print_next_step(options, duel)
    return 0


if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
