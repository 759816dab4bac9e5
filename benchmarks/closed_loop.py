"""The floor: what a video costs without a server. Decodes, tokenises and runs the network in a loop.

    BENCH_BUNDLE=models/compiled/... python -m benchmarks.closed_loop [--seconds 2]

No HTTP, no download, no threads except the engine's. At batch 8, texts are sorted by length among 32 videos,
the largest number of clients in the side-by-side benchmark. The cores' peak rate is measured as well. The
last line of output is JSON.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.thumbnail_host import Pictures
from benchmarks.harness.workload import Workload
from benchmarks.matrix_peak import operations_per_video, peak
from benchmarks.peers.same_engine import BUNDLE, Prepared, Scorer
from model.compiled.bundle import int8_instructions, read_bundle

VIDEOS = 32


def loop(scorer: Scorer, batch: int, seconds: float) -> dict[str, float]:
    """Score new videos for `seconds`; CPU and wall milliseconds a video, and the median call's."""
    pictures, videos = Pictures(), Workload("").new_videos(VIDEOS)
    bodies = [pictures.body(number) for number in range(VIDEOS)]
    walls: list[float] = []
    cpu, started = time.process_time(), time.perf_counter()
    while time.perf_counter() - started < seconds:
        # Batch 1 decodes and scores videos one after another, as for a single client.
        for first in range(0, VIDEOS, VIDEOS if batch > 1 else 1):
            began = time.perf_counter()
            some = slice(first, first + (VIDEOS if batch > 1 else 1))
            prepared = [scorer.prepare(*pair) for pair in zip(videos[some], bodies[some], strict=True)]
            _score(scorer, sorted(prepared, key=lambda video: len(video.text)), batch)
            walls.append((time.perf_counter() - began) / len(prepared))
    scored = len(walls) * (VIDEOS if batch > 1 else 1)
    return {
        "cpu_ms": 1000 * (time.process_time() - cpu) / scored,
        "wall_ms": 1000 * (time.perf_counter() - started) / scored,
        "p50_ms": 1000 * statistics.median(walls),
    }


def _score(scorer: Scorer, videos: Sequence[Prepared], batch: int) -> None:
    for first in range(0, len(videos), batch):
        scorer.score(videos[first : first + batch])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each loop")
    seconds = parser.parse_args(arguments).seconds
    threads = len(os.sched_getaffinity(0))
    scorer = Scorer.from_environment()
    loop(scorer, 1, 0.2)
    print(
        json.dumps(
            {
                "cores": threads,
                "instructions": int8_instructions(),
                "batch_1": loop(scorer, 1, seconds),
                "batch_8": loop(scorer, 8, seconds),
                "f32_gops": peak(quantised=False, threads=threads, seconds=seconds / 2) / 1e9,
                "int8_gops": peak(quantised=True, threads=threads, seconds=seconds / 2) / 1e9,
                "video_gop": operations_per_video(read_bundle(Path(os.environ[BUNDLE])).card.config) / 1e9,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
