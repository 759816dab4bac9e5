"""Options that several commands share: the file, its columns' names, the encoders, the recipe. No torch."""

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from ipaddress import ip_network
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from training.recipe import Recipe, Tuning

if TYPE_CHECKING:
    from training.embeddings.thumbnails import ThumbnailSource

SEED = 20171114  # the first day of the demo's data
NEXT_OUT = Path("models/model_next.pt")
URLS, NONE, AUTO = "urls", "none", "auto"
TEXTS = {"title": TITLE_ONLY, "title,description": TITLE_AND_DESCRIPTION, AUTO: None}


def bounded(kind: type, expected: str, accepts: Callable[[Any], bool]) -> Callable[[str], Any]:
    """A parser for a numeric option; a rejected number is an error that says what was expected."""

    def number(text: str) -> Any:
        value = kind(text)
        if not accepts(value):
            raise argparse.ArgumentTypeError(f"is {text}, expected {expected}")
        return value

    return number


SHARE = bounded(float, "0 or more and below 1", lambda value: 0 <= value < 1)
READERS: dict[str, Callable[[str], Any]] = {
    "share": SHARE,
    "float": bounded(float, "0 or more", lambda value: 0 <= value < inf),
    "int": bounded(int, "0 or more", lambda value: value >= 0),
    "count": bounded(int, "1 or more", lambda value: value >= 1),
    "str": str,
}
"""How a hyperparameter is read, by its kind or the type of its default."""


def add_data_options(parser: argparse.ArgumentParser, *, or_database: bool = False) -> None:
    """Input options of every command that reads a training file; with `or_database` the file is optional."""
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
        metavar="title|title,description|auto",
        help="text fields to read; auto trains on those with the lower loss on val (default: %(default)s)",
    )
    parser.add_argument("--allow-bad-rows", action="store_true", help="skip rows that cannot be used")
    parser.add_argument(
        "--viral-quantile",
        type=SHARE,
        metavar="SHARE",
        help=f"without a column is_viral: share of the training rows that is not viral "
        f"(default: {VIRAL_QUANTILE})",
    )
    parser.add_argument(
        "--thumbnails",
        default=AUTO,
        metavar="DIR|urls|none",
        help="a folder with VIDEO_ID.jpg files, or urls: the column thumbnail_url (default: urls if the "
        "file has that column, else none)",
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
    """How a checkpoint is fitted and where it is written."""
    add = parser.add_argument
    add(
        "--out",
        type=Path,
        metavar="CHECKPOINT",
        help=f"the checkpoint to write (default: {DEFAULT_CHECKPOINT}; with --from {NEXT_OUT})",
    )
    add(
        "--from",
        dest="database",
        nargs="?",
        const="",
        metavar="DATABASE_URL",
        help="learn from this database's snapshots instead of a file (default: the variable DATABASE_URL)",
    )
    add(
        "--against",
        type=Path,
        metavar="CHECKPOINT",
        help="with --from: the serving checkpoint, whose encoders and meaning of viral are kept and with "
        f"which the new one is compared (default: MILES_CHECKPOINT, or {DEFAULT_CHECKPOINT})",
    )
    add("--results", type=Path, metavar="DIR", help="a folder for phase1_results.json and the model card")
    add(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="device of the encoders (default: %(default)s)",
    )
    add(
        "--cache",
        type=Path,
        metavar="DIR",
        help="a folder for the encoders' vectors, from which an interrupted run resumes "
        "(default: training-cache beside the checkpoint)",
    )
    add(
        "--demo-head",
        type=Path,
        nargs="?",
        const=DEMO_DIRECTORY,
        metavar="DIR",
        help="also store the head as the demo's, in DIR (default: models/demo)",
    )
    add("--overwrite", action="store_true", help="replace a checkpoint other than the demo")
    add("--mlflow", metavar="FOLDER_OR_URI", help="record the run in MLflow (requirements/mlflow.txt)")
    add_encoder_options(parser)
    add(
        "--unfreeze",
        nargs="?",
        const="text",
        choices=("text", "image", "both"),
        help="train the encoder of text, of images, or both before the head (without a value: text)",
    )
    add_fields(parser, Tuning)
    add_fields(parser, Recipe)


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Which encoders, and the seed."""
    add = parser.add_argument
    add(
        "--text-encoder",
        metavar="NAME",
        help="random, minilm, a BERT directory, or a hub name (default: random)",
    )
    add(
        "--text-pooling",
        choices=POOLINGS,
        help="how tokens become one vector (default: what the directory specifies)",
    )
    add("--image-encoder", metavar="NAME", help="random, imagenet, or a ResNet-50 file (default: random)")
    add(
        "--half-scale",
        action="store_true",
        help="decode large JPEGs at half their size, here and when served",
    )
    add("--seed", type=int, metavar="N", default=SEED, help="seed of all randomness (default: %(default)s)")


def add_fields(parser: argparse.ArgumentParser, recipe: type[Recipe | Tuning]) -> None:
    """An option for each hyperparameter that has a help text."""
    for each in fields(recipe):
        if words := each.metadata.get("help"):
            value = "SHARE" if each.metadata.get("kind") == "share" else "N"
            parser.add_argument(
                f"--{_flag(each)}",
                type=READERS[each.metadata.get("kind", type(each.default).__name__)],
                default=each.default,
                choices=each.metadata.get("choices"),
                metavar=None if "choices" in each.metadata else value,
                help=f"{words} (default: %(default)s)",
            )


def _flag(each: Field[Any]) -> str:
    flag: str = each.metadata.get("flag", each.name.replace("_", "-"))
    return flag


def _given(recipe: type[Recipe | Tuning], options: argparse.Namespace) -> dict[str, Any]:
    asked = (each for each in fields(recipe) if "help" in each.metadata)
    return {each.name: getattr(options, _flag(each).replace("-", "_")) for each in asked}


def recipe_from(options: argparse.Namespace) -> Recipe:
    """The default recipe with the given options."""
    return Recipe(**_given(Recipe, options))


def tuning_from(options: argparse.Namespace) -> Tuning:
    """Which encoders are trained, and how."""
    wanted = {name: options.unfreeze in (name, "both") for name in ("text", "image")}
    return Tuning(**wanted, **_given(Tuning, options))


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


def thumbnails_from(options: argparse.Namespace) -> "ThumbnailSource | None":
    """Where thumbnails come from; None if none are wanted."""
    if options.thumbnails == NONE:
        return None
    # Imported here: parsing a command line needs no fetcher.
    from training.embeddings.thumbnails import ThumbnailSource

    folder = None if options.thumbnails in (URLS, AUTO) else Path(options.thumbnails)
    return ThumbnailSource(folder, ThumbnailPolicy(trusted_networks=tuple(options.trusted_network)))


def cache_from(options: argparse.Namespace) -> Path:
    """Where vectors are kept."""
    cache: Path | None = options.cache
    out: Path = options.out
    return out.parent / "training-cache" if cache is None else cache
