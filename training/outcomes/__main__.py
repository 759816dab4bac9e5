"""Compares predictions with what became of the videos: AUROC, ECE, MAE, bias and interval coverage.

    ./miles outcomes DATABASE_URL                      print the figures; the last line is JSON
    ./miles outcomes DATABASE_URL --out DIR            also write index.html and outcomes.json
    ./miles outcomes DATABASE_URL --watch --days 28    serve them to Prometheus on port 7861

DATABASE_URL is the database with the tables of clients/database/loop.sql; without it, the variable of that
name is used. Figures are by week, by version and by what was known, with 95% intervals, and a shadow's are
compared with the served version's. Viral is what the checkpoint was trained for, as its card says.
"""

import argparse
import json
import math
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from model.checkpoint.file import DEFAULT_CHECKPOINT
from training.data.database import DatabaseError, reading

if TYPE_CHECKING:  # imported when the command line has been read: --help needs none of it
    from model.card import ModelCard
    from training.outcomes.judge import Outcomes

EVERY_S = 300.0
PORT = 7861


class OutcomesError(ValueError):
    """Options that cannot be used; the message names the next step."""


def main(arguments: list[str] | None = None) -> int:
    """Judge and print; the exit status is 1 after an error, which goes to stderr in one line."""
    options = _parser().parse_args(arguments)
    try:
        address = options.database or os.environ.get("DATABASE_URL")
        if not address:
            raise OutcomesError("name the database: ./miles outcomes DATABASE_URL, or set DATABASE_URL")
        threshold = options.viral_velocity or viral_velocity_of(options.checkpoint)
        compute = partial(_compute, address, threshold, options)
        if options.watch:
            from training.outcomes.watch import watch

            watch(compute, options.watch, options.host, options.port)
            return 0
        outcomes = compute()
    except (DatabaseError, OutcomesError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    from training.outcomes.judge import lines_of, selection

    print("\n".join([*lines_of(outcomes), selection(outcomes)]))
    print(json.dumps(outcomes.to_dict()))
    return 0


def viral_velocity_of(path: Path) -> float:
    """The views per day above which the checkpoint was trained to call a video viral.

    Raises `OutcomesError` for a checkpoint that cannot be read, or whose card does not say.
    """
    threshold = card_of(path).viral_above
    if threshold is None:
        raise OutcomesError(
            f"{path}: does not say above how many views per day a video is viral; add --viral-velocity VIEWS"
        )
    return threshold


def card_of(path: Path) -> "ModelCard":
    """The card of a checkpoint or of a bundle. Raises `OutcomesError`."""
    from model.checkpoint.file import CheckpointError
    from model.compiled.bundle import is_bundle, read_bundle

    try:
        if is_bundle(path):
            return read_bundle(path).card
        from model.checkpoint.store import read_checkpoint  # imports torch

        return read_checkpoint(path).card
    except CheckpointError as exc:
        raise OutcomesError(f"{exc} Name another --checkpoint, or add --viral-velocity VIEWS.") from exc


def _compute(address: str, viral_above: float, options: argparse.Namespace) -> "Outcomes":
    from training.outcomes.judge import judge
    from training.outcomes.looks import looks

    with reading(address) as connection:
        found = looks(connection, options.days)
    outcomes = judge(found, viral_above)
    if options.out:
        _write(options.out, outcomes)
    return outcomes


def _write(folder: Path, outcomes: "Outcomes") -> None:
    """Each file is there completely or not at all."""
    from training.outcomes.page import render

    folder.mkdir(parents=True, exist_ok=True)
    numbers = json.dumps(outcomes.to_dict(), indent=1) + "\n"
    for name, text in {"outcomes.json": numbers, "index.html": render(outcomes)}.items():
        unfinished = folder / f".{name}.unfinished"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./miles outcomes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("database", nargs="?", metavar="DATABASE_URL", help="postgresql://... (default: the variable)")
    checkpoint = Path(os.environ.get("MILES_CHECKPOINT") or DEFAULT_CHECKPOINT)
    add("--checkpoint", type=Path, default=checkpoint, help="whose card says what viral is (%(default)s)")
    add("--viral-velocity", type=_positive, metavar="VIEWS", help="views per day of a viral video, instead")
    add("--days", type=_positive, help="only predictions of the last DAYS (default: all)")
    add("--out", type=Path, metavar="DIR", help="a folder for index.html and outcomes.json")
    add(
        "--watch",
        type=_positive,
        nargs="?",
        const=EVERY_S,
        metavar="S",
        help="serve the figures to Prometheus, computed every S seconds (300), until stopped",
    )
    add("--host", default="127.0.0.1", help="address to serve on (%(default)s)")
    add("--port", type=int, default=PORT, help="port to serve on (%(default)s)")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"is {text}, expected a number above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
