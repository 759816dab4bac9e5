"""What a new input shape costs the engine, and whether shapes that change under load slow it down.

    python -m benchmarks.shapes [BUNDLE] [--rounds 15]

OpenVINO prepares kernels for each input shape. Miles pads texts to a few lengths and batches to a few sizes,
and runs those of ordinary titles before it is ready. Three figures say whether that is enough: the first run
of a shape that was prepared over its later ones; the same for the longer texts, which were not; and prepared
shapes in a random order, as load brings them, over the same runs sorted by shape. Times are CPU times, which
other work on the machine disturbs less. The last line of output is JSON.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from model.bundle import bundle_directory, read_bundle
from model.file_check import check_file
from model.openvino_engine import BATCH_SIZES, TEXT_LENGTHS, WARM_LENGTHS, OpenVinoEngine

CHECKPOINT = Path("models/model_full.pt")
UNPREPARED_LENGTHS = tuple(length for length in TEXT_LENGTHS if length not in WARM_LENGTHS)
LATER = 15
Run = Callable[[], object]


def milliseconds(run: Run) -> float:
    """CPU time of one run."""
    began = time.process_time()
    run()
    return 1000 * (time.process_time() - began)


def first_over_later(runs: Sequence[Run]) -> tuple[float, float]:
    """Of each run's first time over the median of its later ones, the median; and the median excess in ms."""
    ratios, excesses = [], []
    for run in runs:
        first, later = milliseconds(run), statistics.median(milliseconds(run) for _ in range(LATER))
        ratios.append(first / later)
        excesses.append(first - later)
    return statistics.median(ratios), statistics.median(excesses)


def random_over_sorted(runs: Sequence[Run], rounds: int) -> float:
    """The time of many runs in random order over the same runs sorted by shape; the orders take turns."""
    draw, ratios = np.random.default_rng(0), []
    for _ in range(rounds):
        order = draw.integers(0, len(runs), 3 * len(runs)).tolist()
        times = [sum(milliseconds(runs[index]) for index in some) for some in (order, sorted(order))]
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def text_run(engine: OpenVinoEngine, rows: int, tokens: int) -> Run:
    """One forward of the text tower over `rows` texts of `tokens` tokens."""
    ids = np.random.default_rng(tokens).integers(1000, 30000, (rows, tokens)).tolist()
    kinds = [[0] * tokens] * rows
    return lambda: engine.encode_text(ids, kinds)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="default: that of models/model_full.pt")
    parser.add_argument("--rounds", type=int, default=15, help="how often all shapes are run in each order")
    options = parser.parse_args(arguments)
    directory = options.bundle or bundle_directory(CHECKPOINT, check_file(CHECKPOINT, None))
    engine = OpenVinoEngine(read_bundle(directory), threads=len(os.sched_getaffinity(0)))
    engine.warm_up()
    prepared = [text_run(engine, rows, tokens) for rows, tokens in product(BATCH_SIZES, WARM_LENGTHS)]
    new = [text_run(engine, rows, tokens) for rows, tokens in product(BATCH_SIZES, UNPREPARED_LENGTHS)]
    figures = {}
    figures["prepared_first_over_later"], figures["prepared_excess_ms"] = first_over_later(prepared)
    figures["new_first_over_later"], figures["new_excess_ms"] = first_over_later(new)
    figures["random_over_sorted"] = random_over_sorted(prepared, options.rounds)
    print(f"prepared shape, first run over later ones   {figures['prepared_first_over_later']:6.2f}")
    print(f"new shape, first run over later ones        {figures['new_first_over_later']:6.2f}")
    print(f"prepared shapes, random order over sorted   {figures['random_over_sorted']:6.2f}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
