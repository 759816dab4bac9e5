"""Compares Miles with its peers on the same machine, in one run, taking turns.

    make bench            or   python -m benchmarks.side_by_side [--rounds 3] [--only miles] [--clients 1]

A machine's speed changes with the hour and its neighbours, so only ratios within one run are worth keeping.
All servers are started, but all except the one being measured are stopped (SIGSTOP). They take turns phase by
phase, in an order that rotates, and each figure is the median of the rounds. Every server gets the same
videos in the same order. Cold phases never repeat a title or a picture; warm phases repeat sixteen videos
with new counts.

Peers with batches are measured at their best: before the rounds, each is swept over sizes of batches and
numbers of workers. The checkpoint is `benchmarks.harness.checkpoint`'s, whose layers all work;
MILES_CHECKPOINT names another.

wrk generates the load, and a host of prepared bytes serves the pictures; the CPU time of both, and of
unrelated processes, is printed with the result. The last line of output is JSON.
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness.contestants import (
    CHECKPOINT,
    ROOT,
    Contestant,
    Running,
    StartError,
    compiled,
    contestants,
    running,
    thumbnails,
)
from benchmarks.harness.measuring import CLIENTS, Bench, Results, sweep
from benchmarks.harness.report import figures, show
from benchmarks.harness.workload import Workload
from model.checkpoint.file import CheckpointError
from model.compiled.files import is_bundle

STARTS = 2  # the first start reads files from disk and compiles Python; the second is reported
MAX_SCORE_DIFFERENCE = 0.002


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="minimum duration of a phase")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    parser.add_argument("--only", default="", help="comma-separated names of servers (default: all)")
    parser.add_argument(
        "--clients",
        type=int,
        nargs="+",
        choices=CLIENTS,
        default=list(CLIENTS),
        help="numbers of concurrent clients; 1 is enough to measure the cost of the guards",
    )
    parser.add_argument(
        "--sweep", action=argparse.BooleanOptionalAction, default=True, help="find each peer's best settings"
    )
    parser.add_argument(
        "--before", type=Path, metavar="FOLDER", help="a checkout of an earlier Miles, with its own bundle/"
    )
    parser.add_argument("--minutes", type=float, default=9.0, help="start no round that would end later")
    options = parser.parse_args(arguments)
    # An exception stops the servers on its way out; the signal's default action would leave them running.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if shutil.which("wrk") is None:
        print("bench: wrk is not installed (on Debian and Ubuntu: apt-get install wrk)", file=sys.stderr)
        return 1
    checkpoint = Path(os.environ.get("MILES_CHECKPOINT") or CHECKPOINT)
    try:
        bundle = compiled(checkpoint)
    except CheckpointError as exc:
        print(exc, file=sys.stderr)
        return 1
    everyone = contestants(checkpoint, bundle, options.before)
    wanted = [each for each in everyone if not options.only or each.name in options.only.split(",")]
    results = compare(wanted, bundle, options)
    show(results)
    print(json.dumps(figures(results)))
    return 0


def compare(wanted: Sequence[Contestant], bundle: Path, options: argparse.Namespace) -> Results:
    """Measure every server that starts; the results name the others with the reason."""
    results, seconds, rounds = Results(), options.seconds, options.rounds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="miles-bench-")))
        host, workload = stack.enter_context(thumbnails(folder))
        if options.sweep:
            results.sweep = sweep(wanted, folder, host, workload, math.ceil(seconds), say)
        ends = time.monotonic() + 60 * options.minutes
        at_best = [each.changed(*results.sweep.best(each.name)) for each in wanted]
        servers = [
            server
            for contestant in at_best
            if (server := _start(contestant, folder, workload, results, stack)) is not None
        ]
        _compare_scores(servers, workload, results)
        bench = Bench(servers, host, workload, seconds, results, options.clients)
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            began = time.monotonic()
            bench.round(number)
            _measure_floor(bundle, seconds, servers, results)
            if 2 * time.monotonic() - began > ends and number + 1 < rounds:
                say(f"out of time: {number + 1} of {rounds} rounds are reported")
                break
    return results


def _start(
    contestant: Contestant, folder: Path, workload: Workload, results: Results, stack: ExitStack
) -> Running | None:
    """The server, started `STARTS` times and paused; None, with the reason in the results, if it fails."""
    first = workload.new_videos(1)[0]
    try:
        for _ in range(STARTS - 1):
            with running(contestant, folder, first):
                pass
        server = stack.enter_context(running(contestant, folder, first))
    except StartError as exc:
        results.failures[contestant.name] = str(exc)
        say(f"{contestant.name} does not start: {exc}")
        return None
    results.start_s[contestant.name] = server.start_s
    say(f"{contestant.name} answered after {server.start_s:.1f} s")
    server.tree.settle()
    server.tree.pause()
    return server


def _compare_scores(servers: Sequence[Running], workload: Workload, results: Results) -> None:
    """Check that servers with the same engine give the same scores, or they did not do the same work."""
    videos, scores = workload.new_videos(8), {}
    for server in servers:
        if server.contestant.same_scores:
            server.tree.resume()
            scores[server.contestant.name] = [server.predict(video)["viral_score"] for video in videos]
            server.tree.pause()
    reference = next(iter(scores.values()), [])
    for name, found in scores.items():
        apart = max(abs(a - b) for a, b in zip(reference, found, strict=True))
        results.score_difference[name] = apart
        if apart > MAX_SCORE_DIFFERENCE:
            say(f"{name}: scores differ by up to {apart:.4f}, so the work was not the same")


def _measure_floor(bundle: Path, seconds: float, servers: Sequence[Running], results: Results) -> None:
    """Run the closed loop in a process of its own, while all servers are paused."""
    assert all(server.tree.running for server in servers), "a paused server must not end"
    if not is_bundle(bundle):
        results.failures["closed loop"] = f"{bundle} is not a compiled model; run ./miles compile"
        return
    command = [sys.executable, "-m", "benchmarks.closed_loop", "--seconds", str(min(seconds, 2))]
    environment = os.environ | {"BENCH_BUNDLE": str(bundle)}
    done = subprocess.run(  # noqa: S603  a list, no shell
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        results.failures["closed loop"] = done.stderr.strip()[-300:]
    else:
        results.floors.append(json.loads(done.stdout.splitlines()[-1]))


def say(sentence: str) -> None:
    print(f"bench: {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
