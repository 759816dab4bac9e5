"""The command lines of ./miles train, evaluate, report, backtest, replay and outcomes.

They are parsed before the command's module, and torch with it, is imported: help and errors appear at once.
"""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from features import UnknownFeatureError
from model.checkpoint.file import DEFAULT_CHECKPOINT, CheckpointError
from training.data.table import DatasetError
from training.fit_stats.weekdays import CODES
from training.options import (
    NEXT_OUT,
    add_data_options,
    add_encoder_options,
    add_fields,
    add_fit_options,
    bounded,
)
from training.recipe import Recipe

MIN_ORIGINS = 4
TOLERANCE = 1e-4
WATCH_EVERY_S = 300.0
WATCH_PORT = 7861
PORT = bounded(int, "0 to 65535", lambda value: 0 <= value < 65536)
POSITIVE = bounded(float, "a number above 0", lambda value: 0 < value < math.inf)
OUTCOMES = """Compares predictions with what became of the videos: AUROC, ECE, MAE, bias, coverage.

    ./miles outcomes DATABASE_URL                      print the figures; the last line is JSON
    ./miles outcomes DATABASE_URL --out DIR            also write index.html and outcomes.json
    ./miles outcomes DATABASE_URL --watch --days 28    serve them to Prometheus on port 7861

DATABASE_URL is the database with the tables of clients/database/loop.sql; without it, the environment
variable of that name is used. Figures are by week, by version and by what was known, with 95% intervals; a
shadow's are compared with the served version's. The checkpoint's card defines viral.
"""
Options = argparse.Namespace


def train_options(arguments: Sequence[str] | None = None) -> Options:
    parser = _parser(
        "train [OPTIONS] DATA", "Trains the fusion head on frozen encoders and writes the checkpoint."
    )
    add_data_options(parser, or_database=True)
    add_fit_options(parser)
    options = parser.parse_args(arguments)
    if (options.data is None) == (options.database is None):
        parser.error("name either a file or --from DATABASE_URL")
    options.out = options.out or (DEFAULT_CHECKPOINT if options.database is None else NEXT_OUT)
    return options


def evaluate_options(arguments: Sequence[str] | None = None) -> Options:
    parser = _parser(
        "evaluate [OPTIONS] CHECKPOINT DATA",
        "Measures a checkpoint on the test split, by what is known about a video.",
    )
    parser.add_argument("checkpoint", type=Path, help="any checkpoint that the service reads")
    add_data_options(parser)
    parser.add_argument(
        "--compare", action="store_true", help="also fit gradient boosting and a linear model (takes minutes)"
    )
    _add_cache(parser)
    return parser.parse_args(arguments)


def report_options(arguments: Sequence[str] | None = None) -> Options:
    parser = _parser(
        "report [OPTIONS] --out DIR CHECKPOINT DATA",
        "Plots a checkpoint against simple methods: one HTML page and its PNGs.",
    )
    parser.add_argument("checkpoint", type=Path, help="any checkpoint that the service reads")
    add_data_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument(
        "--older",
        type=Path,
        action="append",
        default=[],
        metavar="CHECKPOINT",
        help="a checkpoint trained on older data, for the drift table; may be repeated",
    )
    _add_cache(parser)
    return parser.parse_args(arguments)


def backtest_options(arguments: Sequence[str] | None = None) -> Options:
    parser = _parser(
        "backtest [OPTIONS] --out DIR DATA",
        "Refits the head on rolling origins and plots how its figures change over time.",
    )
    add_data_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    enough = bounded(int, f"{MIN_ORIGINS} or more", lambda value: value >= MIN_ORIGINS)
    parser.add_argument(
        "--origins",
        type=enough,
        default=MIN_ORIGINS,
        metavar="N",
        help=f"number of origins, {MIN_ORIGINS} or more (default: %(default)s)",
    )
    _add_cache(parser)
    add_encoder_options(parser)
    add_fields(parser, Recipe)
    return parser.parse_args(arguments)


def replay_options(arguments: Sequence[str] | None = None) -> Options:
    parser = _parser(
        "replay [OPTIONS] --expected FILE CHECKPOINT ROWS",
        "Scores training rows as the service does, and compares the scores with those from training.",
    )
    parser.add_argument(
        "checkpoint", type=Path, help="a checkpoint with the features of the first trained file"
    )
    parser.add_argument("rows", type=Path, help="the CSV or Parquet file that it was trained on")
    parser.add_argument(
        "--expected", type=Path, required=True, help="training's outputs for the first rows, CSV or JSON"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="largest difference that passes (default: %(default)s)",
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="score each row alone and padded, as MILES_PRECISION=exact does and as training evaluated it",
    )
    parser.add_argument("--weekday-codes", choices=CODES, help="as for ./miles fit-stats")
    return parser.parse_args(arguments)


def outcomes_options(arguments: Sequence[str] | None = None) -> Options:
    parser = _parser("outcomes [OPTIONS] [DATABASE_URL]", OUTCOMES)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add(
        "database",
        nargs="?",
        metavar="DATABASE_URL",
        help="postgresql://... (default: the variable DATABASE_URL)",
    )
    checkpoint = Path(os.environ.get("MILES_CHECKPOINT") or DEFAULT_CHECKPOINT)
    add("--checkpoint", type=Path, default=checkpoint, help="its card defines viral (default: %(default)s)")
    add(
        "--viral-velocity",
        type=POSITIVE,
        metavar="VIEWS",
        help="views per day of a viral video, instead of the card's",
    )
    add("--days", type=POSITIVE, help="only predictions of the last DAYS days (default: all)")
    add("--out", type=Path, metavar="DIR", help="a folder for index.html and outcomes.json")
    add(
        "--watch",
        type=POSITIVE,
        nargs="?",
        const=WATCH_EVERY_S,
        metavar="S",
        help="serve the figures to Prometheus, computed every S seconds (without a value: 300)",
    )
    add("--host", default="127.0.0.1", help="address to serve on (default: %(default)s)")
    add("--port", type=PORT, default=WATCH_PORT, help="port to serve on (default: %(default)s)")
    return parser.parse_args(arguments)


def _parser(usage: str, description: str) -> argparse.ArgumentParser:
    """Its usage is one line because it is also printed before each command-line error."""
    command = usage.partition(" ")[0]
    return argparse.ArgumentParser(
        prog=f"./miles {command}", usage=f"./miles {usage}   (--help lists them)", description=description
    )


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="a folder for the vectors, which makes the next run faster (default: none)",
    )


COMMANDS = {
    "train": (train_options, "training.fit"),
    "evaluate": (evaluate_options, "training.evaluate"),
    "report": (report_options, "training.report.__main__"),
    "backtest": (backtest_options, "training.backtest"),
    "replay": (replay_options, "training.replay"),
    "outcomes": (outcomes_options, "training.outcomes.__main__"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names, with the remaining arguments.

    Returns its exit status: 1 after an error, which is one line on stderr, and 130 after Ctrl-C.
    """
    read, module = COMMANDS[arguments[0]]
    options = read(arguments[1:])
    try:
        status: int = import_module(module).run(options)
    except (CheckpointError, DatasetError, UnknownFeatureError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except OSError as exc:
        print(f"error: {exc}; check the disk and the permissions, or name another folder", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if "cache" in options:
            print("stopped; run the same command again to continue from the cached vectors", file=sys.stderr)
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
