"""The simulation beside the real service: the same requests through both, below and above saturation.

    python -m benchmarks.capacity.check [--seconds 8] [--write]

Starts Miles as it ships (but with few places, so that a full house is met within seconds) and a host of
pictures, on loopback; posts Poisson streams, whatever became of earlier requests; then simulates the same
arrivals. The simulated replica has the cores that load generator, pictures and strangers left, on average.
`--write` keeps the result in checked.json and puts it into deploy/CAPACITY.md. It takes under 90 seconds.
The last line of output is JSON.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.capacity import comparison
from benchmarks.capacity.arrivals import Arrival, arrivals
from benchmarks.capacity.client import open_loop
from benchmarks.capacity.costs import Costs, read_measured
from benchmarks.capacity.document import DOCUMENT
from benchmarks.capacity.markdown import replace_block
from benchmarks.capacity.measure import CLIENTS, Stage, service
from benchmarks.capacity.simulation import Outcome, Replica, simulate
from benchmarks.harness.contestants import ROOT

PLACES = 48
LOOPBACK_DOWNLOAD_S = 0.001
SEED = 3


class Load(NamedTuple):
    """A rate, as a share of the one at which no core would be idle, and how many of the videos are known."""

    share: float
    known_share: float


LOADS = (Load(0.3, 0.0), Load(0.6, 0.0), Load(0.8, 0.0), Load(1.4, 0.0), Load(0.6, 0.5), Load(0.6, 0.9))


def check(costs: Costs, stage: Stage, load: Load, seconds: float) -> dict[str, Any]:
    """One stream through the service, and the same through the simulation."""
    cores = len(os.sched_getaffinity(0))
    rate = load.share * costs.most_per_s(load.known_share, cores)
    stream = arrivals(rate, seconds, load.known_share, SEED)
    bodies = _bodies(stage, stream)
    before, began = stage.cpu_seconds(), time.perf_counter()
    real = _ask(stage.port, stream, bodies)
    available = cores * (time.perf_counter() - began)
    of_server, of_bench, of_machine = (
        now - then for now, then in zip(stage.cpu_seconds(), before, strict=True)
    )
    taken_share = (of_machine - of_server) / available
    replica = Replica(max(cores * (1 - taken_share), 0.1), cores, PLACES, LOOPBACK_DOWNLOAD_S)
    return {
        "load": load.share,
        "known_share": load.known_share,
        "offered_per_s": round(len(stream) / seconds, 1),
        "taken_share": round(taken_share, 3),
        "strangers_share": round(taken_share - of_bench / available, 3),
        "measured": figures(real),
        "simulated": figures(simulate(costs, replica, stream, SEED)),
    }


def figures(outcome: Outcome) -> dict[str, float]:
    """What is compared."""
    return {
        "per_s": round(outcome.per_s, 1),
        "p50_ms": round(1000 * outcome.quantile_s(0.5), 1),
        "p99_ms": round(1000 * outcome.quantile_s(0.99), 1),
        "refused": round(outcome.refused_share, 3),
    }


def _bodies(stage: Stage, stream: Sequence[Arrival]) -> list[bytes]:
    """A body for each request; what is known has been scored before."""
    videos = stage.workload.known_videos()
    for video in videos:
        stage.server.predict(video)
    known = stage.workload.again(videos)
    chosen = [next(known) if arrival.known else stage.workload.new_videos(1)[0] for arrival in stream]
    return [json.dumps(video).encode() for video in chosen]


def _ask(port: int, stream: Sequence[Arrival], bodies: Sequence[bytes]) -> Outcome:
    """The stream through the service. Raises `RuntimeError` for answers that are neither scores nor 503."""
    began = time.perf_counter()
    answers = asyncio.run(open_loop(port, [arrival.at_s for arrival in stream], bodies))
    seconds = time.perf_counter() - began
    strange = {answer.status for answer in answers} - {200, 503}
    if strange:
        raise RuntimeError(f"answers of {sorted(strange)}, where scores and 503 were expected (0: none came)")
    scored = sorted(answer.seconds for answer in answers if answer.status == 200)
    return Outcome(len(answers), len(answers) - len(scored), seconds, scored)


def main(arguments: Sequence[str]) -> int:
    """Load, simulate, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="for each rate")
    parser.add_argument(
        "--write", action="store_true", help="keep the result, and write it into the document"
    )
    options = parser.parse_args(arguments)
    costs, rows = Costs.of(read_measured()), []
    with service(max_queue_size=PLACES) as stage:
        for video in stage.workload.new_videos(2 * CLIENTS):
            stage.server.predict(video)
        for load in LOADS:
            rows.append(check(costs, stage, load, options.seconds))
            stage.server.tree.settle()
    found = {"seconds": options.seconds, "places": PLACES, "rows": rows}
    table = comparison.check_table(found)
    print(table)
    if options.write:
        comparison.CHECKED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        replace_block(DOCUMENT, "check", table)
        print(f"{comparison.CHECKED.relative_to(ROOT)} and {DOCUMENT.relative_to(ROOT)} are written")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
