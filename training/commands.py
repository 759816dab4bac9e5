"""The command lines of ./miles train, evaluate, report, backtest and replay.

They are read before the command's module, and with it torch, is imported: help and mistakes appear at once.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from model.checkpoint.file import DEFAULT_CHECKPOINT
from training.fit_stats.weekdays import CODES
from training.options import (
    NEXT_OUT,
    add_data_options,
    add_encoder_options,
    add_fit_options,
    add_recipe_options,
)

MIN_ORIGINS = 4
TOLERANCE = 1e-4
Options = argparse.Namespace


def train_options(arguments: Sequence[str] | None = None) -> Options:
    """Those of `training.fit`."""
    parser = _parser("train", "Trains the fusion head on frozen encoders and writes the checkpoint.")
    add_data_options(parser, or_database=True)
    add_fit_options(parser)
    options = parser.parse_args(arguments)
    if (options.data is None) == (options.database is None):
        parser.error("name either a file or --from DATABASE_URL")
    options.out = options.out or (DEFAULT_CHECKPOINT if options.database is None else NEXT_OUT)
    return options


def evaluate_options(arguments: Sequence[str] | None = None) -> Options:
    """Those of `training.evaluate`."""
    parser = _parser("evaluate", "Measures a checkpoint on the test split, by what is known of a video.")
    parser.add_argument("checkpoint", type=Path, help="any checkpoint that the service reads")
    add_data_options(parser)
    parser.add_argument(
        "--compare", action="store_true", help="fit gradient boosting and a linear model beside it (minutes)"
    )
    _add_cache(parser)
    return parser.parse_args(arguments)


def report_options(arguments: Sequence[str] | None = None) -> Options:
    """Those of `training.report`."""
    parser = _parser("report", "Draws a checkpoint beside simple methods: one HTML page and its PNGs.")
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
    """Those of `training.backtest`."""
    parser = _parser("backtest", "Refits the head on rolling origins and draws how its figures move.")
    add_data_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument("--origins", type=int, default=MIN_ORIGINS, help="4 or more (%(default)s)")
    _add_cache(parser)
    add_encoder_options(parser)
    add_recipe_options(parser)
    options = parser.parse_args(arguments)
    if options.origins < MIN_ORIGINS:
        parser.error(f"--origins is {options.origins}, expected at least {MIN_ORIGINS}")
    return options


def replay_options(arguments: Sequence[str] | None = None) -> Options:
    """Those of `training.replay`."""
    parser = _parser("replay", "Scores training rows as the service does, and compares with the training's.")
    parser.add_argument("checkpoint", type=Path, help="a checkpoint with the first list of features")
    parser.add_argument("rows", type=Path, help="the CSV or Parquet file that it was trained on")
    parser.add_argument(
        "--expected", type=Path, required=True, help="the training's outputs for the first rows, CSV or JSON"
    )
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, help="largest difference that passes (%(default)s)"
    )
    parser.add_argument(
        "--exact",
        action="store_true",
        help="each row alone and padded, as with MILES_PRECISION=exact, and as the training evaluated it",
    )
    parser.add_argument("--weekday-codes", choices=CODES, help="as for ./miles fit-stats")
    return parser.parse_args(arguments)


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"./miles {command}", description=description)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache", type=Path, help="a folder for the vectors, which makes the next run faster"
    )


COMMANDS = {
    "train": (train_options, "training.fit"),
    "evaluate": (evaluate_options, "training.evaluate"),
    "report": (report_options, "training.report.__main__"),
    "backtest": (backtest_options, "training.backtest"),
    "replay": (replay_options, "training.replay"),
}


def main(arguments: Sequence[str]) -> int:
    """Run the command that the first argument names with the others; its exit status."""
    read, module = COMMANDS[arguments[0]]
    options = read(arguments[1:])
    status: int = import_module(module).run(options)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
