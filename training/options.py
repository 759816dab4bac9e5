"""Options that several commands share: the file, its columns' names, the encoders, the recipe. No torch."""

import argparse
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from model.checkpoint.file import DEFAULT_CHECKPOINT, DEMO_DIRECTORY
from model.config import POOLINGS
from preprocessing.thumbnails.policy import ThumbnailPolicy
from training.data.dataset import (
    TITLE_AND_DESCRIPTION,
    TITLE_ONLY,
    VIRAL_QUANTILE,
    DatasetError,
    Reading,
)
from training.embeddings.thumbnails import ThumbnailSource
from training.head.knowns import HIDDEN
from training.recipe import CLASS_WEIGHTS, Recipe, Tuning

SEED = 20171114  # the first day of the demo's data
NEXT_OUT = Path("models/model_next.pt")
URLS, NONE, AUTO = "urls", "none", "auto"
DROPPED = (*HIDDEN, "image")
TEXTS = {"title": TITLE_ONLY, "title,description": TITLE_AND_DESCRIPTION, AUTO: None}


def add_data_options(parser: argparse.ArgumentParser, *, or_database: bool = False) -> None:
    """What is read, for every command that reads a training file; `or_database`: the file may be left out."""
    count = "?" if or_database else None
    parser.add_argument("data", type=Path, nargs=count, help="a CSV, CSV.gz or Parquet file of snapshots")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="the file's name for a field, like title=headline; FIELD= omits it; may be repeated",
    )
    parser.add_argument(
        "--text",
        choices=TEXTS,
        default=AUTO,
        help="text fields to read (%(default)s: as val prefers, for training)",
    )
    parser.add_argument("--allow-bad-rows", action="store_true", help="skip rows that cannot be used")
    parser.add_argument(
        "--viral-quantile",
        type=_share,
        help=f"without a column is_viral: share of the training rows that is not viral ({VIRAL_QUANTILE})",
    )
    parser.add_argument(
        "--thumbnails",
        default=AUTO,
        metavar="DIR|urls|none",
        help="a folder with VIDEO_ID.jpg files, or urls: the column thumbnail_url (default, if it exists)",
    )
    parser.add_argument(
        "--trusted-network",
        action="append",
        default=[],
        type=ip_network,
        metavar="CIDR",
        help="private network that thumbnails may be fetched from; may be repeated",
    )


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """How it is fitted and where it is written."""
    add = parser.add_argument
    add("--out", type=Path, help=f"the checkpoint to write ({DEFAULT_CHECKPOINT}; with --from {NEXT_OUT})")
    add(
        "--from",
        dest="database",
        nargs="?",
        const="",
        metavar="DATABASE_URL",
        help="learn from the snapshots of this database (default: the variable) instead of a file",
    )
    add(
        "--against",
        type=Path,
        metavar="CHECKPOINT",
        help="with --from: the serving checkpoint, whose encoders and meaning of viral are kept and with "
        f"which the new one is compared (default: MILES_CHECKPOINT, or {DEFAULT_CHECKPOINT})",
    )
    add("--results", type=Path, help="a folder for phase1_results.json and the model card")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="device of the encoders (%(default)s)")
    add(
        "--cache",
        type=Path,
        help="a folder for the encoders' vectors, from which an interrupted run resumes "
        "(default: training-cache beside the checkpoint)",
    )
    add("--demo-head", type=Path, nargs="?", const=DEMO_DIRECTORY, help="also store the head as the demo's")
    add("--overwrite", action="store_true", help="replace a checkpoint other than the demo")
    add("--mlflow", metavar="FOLDER_OR_URI", help="record the run in MLflow (requirements/mlflow.txt)")
    add_encoder_options(parser)
    add_unfreeze_options(parser)
    add_recipe_options(parser)


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Which encoders, and the seed."""
    add = parser.add_argument
    add("--text-encoder", help="random (the default), minilm, a BERT directory, or a hub name")
    add(
        "--text-pooling",
        choices=POOLINGS,
        help="how tokens become one vector, if the directory does not specify it",
    )
    add("--image-encoder", help="random (the default), imagenet, or a ResNet-50 file")
    add(
        "--half-scale",
        action="store_true",
        help="decode large JPEGs at half their size, here and when served",
    )
    add("--seed", type=int, default=SEED, help="seed of all randomness (%(default)s)")


def add_unfreeze_options(parser: argparse.ArgumentParser) -> None:
    """Whether and how the encoders are trained, too."""
    usual, add = Tuning(), parser.add_argument
    add(
        "--unfreeze",
        nargs="?",
        const="text",
        choices=("text", "image", "both"),
        help="train the encoder of texts (the default), of images, or both, before the head",
    )
    add("--encoder-epochs", type=_whole, default=usual.epochs, help="its maximum epochs (%(default)s)")
    add("--encoder-patience", type=_whole, default=usual.patience, help="without improvement (%(default)s)")
    add("--encoder-batch-size", type=_whole, default=usual.batch_size, help="rows a batch (%(default)s)")
    add("--encoder-rate", type=_number, default=usual.encoder_rate, help="learning rate (%(default)s)")
    add(
        "--provisional-head-rate",
        type=_number,
        default=usual.head_rate,
        help="learning rate of the head that it is trained with (%(default)s)",
    )


def tuning_from(options: argparse.Namespace) -> Tuning:
    """How the encoders are trained. Raises `DatasetError` for numbers of 0."""
    counts = (options.encoder_epochs, options.encoder_patience, options.encoder_batch_size)
    if not all(counts):
        raise DatasetError(
            "--encoder-epochs, --encoder-patience and --encoder-batch-size are "
            f"{', '.join(map(str, counts))}, expected 1 or more each"
        )
    epochs, patience, batch_size = counts
    rates = {"encoder_rate": options.encoder_rate, "head_rate": options.provisional_head_rate}
    return Tuning(
        text=options.unfreeze in ("text", "both"),
        image=options.unfreeze in ("image", "both"),
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        **rates,
    )


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """The hyperparameters of the head."""
    usual = Recipe()
    add = parser.add_argument
    add("--text-dims", type=_whole, default=usual.text_dims, help="text components (%(default)s)")
    add("--text-noise", type=_number, default=usual.text_noise, help="noise on them (%(default)s)")
    add("--image-dims", type=_whole, default=usual.image_dims, help="image components (%(default)s)")
    add("--image-noise", type=_number, default=usual.image_noise, help="noise on them (%(default)s)")
    add("--epochs", type=_whole, default=usual.epochs, help="maximum epochs (%(default)s)")
    add("--patience", type=_whole, default=usual.patience, help="epochs without improvement (%(default)s)")
    add(
        "--class-weights",
        choices=CLASS_WEIGHTS,
        default=usual.class_weights,
        help="weights of the two classes (%(default)s)",
    )
    for name in DROPPED:
        add(
            f"--{name}-dropped",
            type=_share,
            default=usual.dropped(name),
            help=f"how often training hides a row's {name} (%(default)s)",
        )
    add(
        "--complete",
        type=_share,
        default=usual.complete,
        help="share of training rows that keep all counts and times (%(default)s)",
    )
    add(
        "--title-only",
        type=_share,
        default=usual.title_only,
        help="share of training rows that hide all of them (%(default)s)",
    )
    add(
        "--half-life-days",
        type=_number,
        default=usual.half_life_days,
        help="rows this much older than the newest weigh half; 0 weighs all equally (%(default)s)",
    )


def reading_from(options: argparse.Namespace) -> Reading:
    """How the file is read. Raises `DatasetError` for an invalid mapping."""
    columns = {}
    for given in options.column:
        field, separator, column = given.partition("=")
        if not separator:
            raise DatasetError(f"--column {given}: expected FIELD=COLUMN, like title=headline")
        columns[field.strip()] = column.strip()
    return Reading(
        columns=columns,
        text=TEXTS[options.text],
        allow_bad_rows=options.allow_bad_rows,
        viral_quantile=VIRAL_QUANTILE if options.viral_quantile is None else options.viral_quantile,
        seed=getattr(options, "seed", SEED),
    )


def thumbnails_from(options: argparse.Namespace) -> ThumbnailSource | None:
    """Where thumbnails are had; None where none are wanted."""
    if options.thumbnails == NONE:
        return None
    folder = None if options.thumbnails in (URLS, AUTO) else Path(options.thumbnails)
    return ThumbnailSource(folder, ThumbnailPolicy(trusted_networks=tuple(options.trusted_network)))


def recipe_from(options: argparse.Namespace) -> Recipe:
    """The usual recipe with what was asked for."""
    names = (
        "text_dims",
        "text_noise",
        "image_dims",
        "image_noise",
        "epochs",
        "patience",
        "class_weights",
    )
    more = ("half_life_days", "complete", "title_only", *(f"{name}_dropped" for name in DROPPED))
    return replace(Recipe(), **{name: getattr(options, name) for name in (*names, *more)})


def cache_from(options: argparse.Namespace) -> Path:
    """Where vectors are kept."""
    cache: Path | None = options.cache
    out: Path = options.out
    return out.parent / "training-cache" if cache is None else cache


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"is {text}, expected 0 or more and below 1")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"is {text}, expected 0 or more")
    return value


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"is {text}, expected 0 or more")
    return value
