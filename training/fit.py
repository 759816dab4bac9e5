"""Trains the fusion head on frozen encoders and writes the checkpoint.

    python -m training.fit DATA.csv.gz --out models/model_full.pt
        [--text-encoder random|DIR|bert-base-uncased] [--image-encoder random|FILE|imagenet]
        [--seed N] [--cache DIR] [--demo-head models/demo] [--overwrite]

The data holds no images, so the image columns are zero and say so. A twin head without text is trained
beside the real one: whether the text columns earn their place is measured, not assumed.
"""

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model.checkpoint import Checkpoint, write_checkpoint
from model.demo import (
    DEFAULT_OUT,
    DEMO_DIRECTORY,
    SOURCE,
    DemoError,
    compose,
    is_demo,
    read_demo,
    write_demo,
)
from model.low_rank import LowRankHead
from model.pretrained import EncoderSourceError
from model.torch_engine import TorchEngine
from training.dataset import SPLITS, Dataset, DatasetError, Split, read_dataset
from training.distributions import training_distributions
from training.encoders import RANDOM, Encoders, open_encoders
from training.evaluate import intervals_to_dict, measure, print_intervals, print_rows
from training.golden import golden_answers
from training.head import fit_head, untrained_checkpoint
from training.known_data import KNOWN_DATA, UNKNOWN_DATA
from training.loop import Recipe
from training.metrics import paired_intervals
from training.text_mean import training_titles
from training.vectors import TitleVectors, encode_titles

CODE_VERSION = "1.0.0"
SEED = 20171114  # the first day of the data
NOTES = (
    "Image columns are zero, because the data holds no images: a thumbnail does not change a score.",
    "Text is the title alone, because only one month of the data has descriptions.",
)
RANDOM_TEXT_NOTE = (
    "The text encoder is seeded random: it tells titles apart by their words and knows nothing of meaning."
)


@dataclass(frozen=True)
class Fit:
    """A measured checkpoint and the factors of its head."""

    checkpoint: Checkpoint
    head: LowRankHead


def fit(dataset: Dataset, encoders: Encoders, recipe: Recipe, seed: int, cache: Path | None = None) -> Fit:
    """Train, calibrate, measure on test, and add golden answers."""
    base = untrained_checkpoint(encoders, dataset, recipe, seed)
    titles = encode_titles(TorchEngine(base), base, dataset, cache)
    print("the head, with text", flush=True)
    checkpoint, head = fit_head(base, dataset, titles, recipe, seed)
    print("its twin, without text", flush=True)
    twin, _ = fit_head(base, dataset, titles, replace(recipe, text_dims=0), seed)
    engine = TorchEngine(checkpoint)
    checkpoint = replace(
        checkpoint,
        test_metrics=_compare(checkpoint, twin, dataset, titles),
        golden=golden_answers(engine, checkpoint),
        distributions=training_distributions(engine, checkpoint, dataset.train, titles),
        titles=training_titles(dataset.train, titles.of(dataset.train.videos)),
        provenance=_provenance(dataset, encoders, recipe, seed),
    )
    return Fit(checkpoint, head)


def _compare(
    checkpoint: Checkpoint, twin: Checkpoint, dataset: Dataset, titles: TitleVectors
) -> dict[str, Any]:
    """All figures of `checkpoint`, its twin's beside them, and the paired difference."""
    report = measure(TorchEngine(checkpoint), checkpoint, dataset, titles)
    other = measure(TorchEngine(twin), twin, dataset, titles)
    print_rows({**report.rows, **{f"twin, {age}": other.rows[age] for age in ("with age", "without age")}})
    figures = report.to_dict()
    for age, key in (("with age", "twin"), ("without age", "twin_without_age")):
        gain = paired_intervals(
            report.test_predictions[age], other.test_predictions[age], dataset.test.video_ids
        )
        print_intervals(f"against the twin, {age} (95 % by video)", gain)
        figures[key] = other.rows[age].to_dict()
        figures[f"gain_over_{key}"] = intervals_to_dict(gain)
    return figures


def _provenance(dataset: Dataset, encoders: Encoders, recipe: Recipe, seed: int) -> dict[str, Any]:
    known = KNOWN_DATA.get(dataset.sha256, UNKNOWN_DATA)
    random_text = [RANDOM_TEXT_NOTE] if "seed" in encoders.provenance["text"] else []
    return {
        "source": SOURCE if encoders.are_random else "trained with training.fit",
        "encoders": encoders.provenance,
        "data": {
            "name": known["name"],
            "licence": known["licence"],
            "population": known["population"],
            "file": dataset.name,
            "sha256": dataset.sha256,
            "split": "by video and by time, as the file's column split says",
            "observed": {name: _observed(dataset.split(name)) for name in SPLITS},
            "rows": {name: len(dataset.split(name)) for name in SPLITS},
            "videos": {name: len(set(dataset.split(name).video_ids)) for name in SPLITS},
            "purged_rows": dataset.purged_rows,
            "viral_above_views_per_day": dataset.viral_threshold,
        },
        "recipe": {**asdict(recipe), "seed": seed},
        "code_version": CODE_VERSION,
        "created": datetime.now(UTC).date().isoformat(),
        "notes": [*NOTES, known["note"], *random_text],
    }


def _observed(split: Split) -> str:
    """The first and the last day on which the rows' counts were read."""
    days = sorted(video.observed_at.date().isoformat() for video in split.videos if video.observed_at)
    return f"{days[0]} to {days[-1]}"


def main(arguments: list[str] | None = None) -> int:
    """Fit and write; the exit status is 1 after an error, which goes to stderr in one line."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except (DatasetError, DemoError, EncoderSourceError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.fit", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("data", type=Path, help="the CSV or CSV.gz of snapshots")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="the checkpoint to write")
    parser.add_argument("--text-encoder", default=RANDOM, help="random, a BERT directory, or a hub name")
    parser.add_argument("--image-encoder", default=RANDOM, help="random, imagenet, or a ResNet-50 file")
    parser.add_argument("--seed", type=int, default=SEED, help="decides encoders, dropout and order")
    parser.add_argument("--cache", type=Path, help="a folder for the title vectors, to fit again faster")
    parser.add_argument(
        "--demo-head", type=Path, nargs="?", const=DEMO_DIRECTORY, help="also store the head as the demo's"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a checkpoint that is no demo")
    return parser


def _run(options: argparse.Namespace) -> None:
    if options.out.exists() and not options.overwrite and not is_demo(options.out):
        raise DemoError(f"{options.out}: holds a checkpoint that is no demo; say --overwrite to replace it")
    encoders = open_encoders(options.text_encoder, options.image_encoder, options.seed)
    if options.demo_head and not encoders.are_random:
        raise DemoError("--demo-head stores no encoder weights: it needs both encoders random")
    dataset = read_dataset(options.data)
    fitted = fit(dataset, encoders, Recipe(), options.seed, options.cache)
    checkpoint = fitted.checkpoint
    if options.demo_head:
        write_demo(options.demo_head, checkpoint, fitted.head)
        checkpoint = compose(read_demo(options.demo_head))
        print(f"{options.demo_head}: the demo's head and metadata")
    write_checkpoint(options.out, checkpoint)
    print(f"{options.out}: written")


if __name__ == "__main__":
    sys.exit(main())
