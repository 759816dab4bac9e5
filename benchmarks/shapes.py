"""Measures what a new input shape costs the engine, and whether changing shapes slow it down.

    python -m benchmarks.shapes [BUNDLE] [--rounds 15]

OpenVINO prepares kernels for each input shape. Miles packs texts into rows of a few lengths and runs each
length once before it reports ready. Three ratios show whether that is enough: the first run of a prepared row
over its later runs; the same in an engine that was not warmed up; and prepared rows in random order, as under
load, over the same rows sorted by length. Times are CPU times, which other processes disturb less. The last
line of output is JSON.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness.contestants import compiled
from benchmarks.harness.workload import MEDIAN_TITLE
from model.compiled.bundle import read_bundle
from model.compiled.engine import ROW_TOKENS, OpenVinoEngine

CHECKPOINT = Path("models/model_full.pt")
LATER_RUNS = 15
Run = Callable[[], object]


def milliseconds(run: Run) -> float:
    """CPU milliseconds of one run."""
    began = time.process_time()
    run()
    return 1000 * (time.process_time() - began)


def first_over_later(runs: Sequence[Run]) -> tuple[float, float]:
    """Each run's first time over the median of its later times: median ratio, and median excess in ms."""
    ratios, excesses = [], []
    for run in runs:
        first, later = milliseconds(run), statistics.median(milliseconds(run) for _ in range(LATER_RUNS))
        ratios.append(first / later)
        excesses.append(first - later)
    return statistics.median(ratios), statistics.median(excesses)


def random_over_sorted(runs: Sequence[Run], rounds: int) -> float:
    """Time of many runs in random order over the same runs sorted by shape; median of the rounds."""
    draw, ratios = np.random.default_rng(0), []
    for _ in range(rounds):
        order = draw.integers(0, len(runs), 3 * len(runs)).tolist()
        times = [sum(milliseconds(runs[index]) for index in some) for some in (order, sorted(order))]
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def row_run(engine: OpenVinoEngine, tokens: int) -> Run:
    """A forward of the text tower over titles of `tokens` tokens in total."""
    draw = np.random.default_rng(tokens)
    lengths = [min(MEDIAN_TITLE, tokens - start) for start in range(0, tokens, MEDIAN_TITLE)]
    ids = [draw.integers(1000, 30000, length).tolist() for length in lengths]
    kinds = [[0] * length for length in lengths]
    return lambda: engine.encode_text(ids, kinds)


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="default: the bundle of models/model_full.pt")
    parser.add_argument("--rounds", type=int, default=15, help="how often all shapes run in each order")
    options = parser.parse_args(arguments)
    directory = options.bundle or compiled(CHECKPOINT)
    bundle, threads = read_bundle(directory), len(os.sched_getaffinity(0))
    warm, cold = OpenVinoEngine(bundle, threads), OpenVinoEngine(bundle, threads)
    warm.warm_up()
    row_run(cold, ROW_TOKENS[0])()  # the very first run also prepares the weights
    prepared = [row_run(warm, tokens) for tokens in ROW_TOKENS]
    figures = {}
    figures["prepared_first_over_later"], figures["prepared_excess_ms"] = first_over_later(prepared)
    figures["new_first_over_later"], figures["new_excess_ms"] = first_over_later(
        [row_run(cold, tokens) for tokens in ROW_TOKENS[1:]]
    )
    figures["random_over_sorted"] = random_over_sorted(prepared, options.rounds)
    print(f"prepared row, first run / later runs        {figures['prepared_first_over_later']:6.2f}")
    print(f"new row, first run / later runs             {figures['new_first_over_later']:6.2f}")
    print(f"prepared rows, random order / sorted        {figures['random_over_sorted']:6.2f}")
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
