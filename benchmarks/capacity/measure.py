"""What the simulation needs to know: CPU time by step, alone and in the running service, and bytes.

    python -m benchmarks.capacity.measure [--seconds 0.6] [--write]

Each step of the network alone at every batch size that the engine runs; the floor of benchmarks.closed_loop;
then the service as it ships, asked for new videos by as many clients as fill its batches, and for known ones.
Linux accounts CPU time to threads, so the event loop's, the engine's and the decoders' are told apart.
`--write` keeps the result in measured.json, from which deploy/CAPACITY.md is made. It takes half a minute.
The last line of output is JSON.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.capacity.client import closed_loop
from benchmarks.capacity.costs import MEASURED
from benchmarks.closed_loop import loop
from benchmarks.harness.contestants import ROOT, Running, contestants, free_port, running
from benchmarks.harness.processes import ProcessTree, machine_cpu_seconds, started
from benchmarks.harness.thumbnail_host import SIZES, Pictures
from benchmarks.harness.workload import Request, Workload
from benchmarks.peers.same_engine import BUNDLE, Scorer
from benchmarks.profile import thread_seconds
from model.checkpoint.file import check_file
from model.compiled.bundle import bundle_directory, read_bundle
from model.compiled.engine import BATCH_SIZES, OpenVinoEngine
from model.engine import Engine
from serving.scoring.cache import entry_bytes

CHECKPOINT = ROOT / "models" / "model_full.pt"
CLIENTS = 24
SERVED_S = 6.0
VIDEOS_PER_S = 300
KNOWN_REQUESTS = 20_000


def forwards(engine: Engine, scorer: Scorer, scalars: int, seconds: float) -> dict[str, Any]:
    """CPU and wall milliseconds of a forward by step and batch size."""
    pictures, videos = Pictures(), Workload("").new_videos(64)
    prepared = [scorer.prepare(video, pictures.body(number)) for number, video in enumerate(videos)]
    # As the service's queue does, a batch takes texts of similar lengths.
    texts = sorted((video.text for video in prepared), key=len)
    pixels = np.stack([video.pixels for video in prepared[: max(BATCH_SIZES)]])
    known = engine.encode_text([texts[0].input_ids] * 8, [texts[0].token_type_ids] * 8)
    image, zeros = engine.encode_image(pixels), np.zeros((8, scalars), dtype=np.float32)

    def text(size: int, first: int) -> object:
        batch = texts[first : first + size]
        return engine.encode_text([each.input_ids for each in batch], [each.token_type_ids for each in batch])

    steps: dict[str, Callable[[int, int], object]] = {
        "text": text,
        "image": lambda size, _: engine.encode_image(pixels[:size]),
        "fusion": lambda size, _: engine.score(known[:size], image[:size], zeros[:size]),
    }
    return {
        step: {str(size): _forward(run, size, len(texts), seconds) for size in BATCH_SIZES}
        for step, run in steps.items()
    }


def _forward(run: Callable[[int, int], object], size: int, videos: int, seconds: float) -> dict[str, float]:
    walls: list[float] = []
    cpu, ends = time.process_time(), time.perf_counter() + seconds
    while time.perf_counter() < ends or len(walls) < videos // size:
        began = time.perf_counter()
        run(size, len(walls) * size % videos)
        walls.append(time.perf_counter() - began)
    used = (time.process_time() - cpu) / len(walls)
    return {"cpu_ms": round(1000 * used, 4), "wall_ms": round(1000 * statistics.mean(walls), 4)}


@dataclass(frozen=True, slots=True)
class Stage:
    """A running service, the host of its pictures, and its videos."""

    server: Running
    host: ProcessTree
    workload: Workload

    @property
    def port(self) -> int:
        """Where the service listens."""
        return int(self.server.url.rpartition(":")[2])

    def cpu_seconds(self) -> tuple[float, float, float]:
        """So far: of the service, of the benchmark itself with its pictures, of the whole machine."""
        bench = time.process_time() + self.host.cpu_seconds()
        return self.server.tree.cpu_seconds(), bench, machine_cpu_seconds()


@contextmanager
def service(**settings: object) -> Iterator[Stage]:
    """Miles as it ships, but for `settings`, and a host of pictures, both on loopback."""
    bundle = bundle_directory(CHECKPOINT, check_file(CHECKPOINT, None))
    with tempfile.TemporaryDirectory(prefix="miles-capacity-") as name:
        folder, port = Path(name), free_port()
        command = [sys.executable, "-m", "benchmarks.harness.thumbnail_host", str(port)]
        with started(command, os.environ, ROOT, folder / "host.log") as host:
            workload = Workload(f"http://127.0.0.1:{port}")
            miles = contestants(CHECKPOINT, bundle)[0]
            chosen = {f"MILES_{key.upper()}": str(value) for key, value in settings.items()}
            miles = replace(miles, environment={**miles.environment, **chosen})
            with running(miles, folder, workload.new_videos(1)[0]) as server:
                yield Stage(server, host, workload)


def served(seconds: float) -> dict[str, Any]:
    """CPU milliseconds a video of the event loop, the engine and the decoders, new videos and known ones."""
    with service() as stage:
        known = stage.workload.known_videos()
        for video in [*known, *stage.workload.new_videos(2 * CLIENTS)]:
            stage.server.predict(video)
        new = stage.workload.new_videos(int(VIDEOS_PER_S * seconds))
        return {
            "new": _phase(stage, new, seconds),
            "known": _phase(stage, stage.workload.rescored(known, KNOWN_REQUESTS), seconds / 2),
        }


def _phase(stage: Stage, videos: Sequence[Request], seconds: float) -> dict[str, Any]:
    bodies = [json.dumps(video).encode() for video in videos]
    used, batches, all_used = _used(stage.server), _batches(stage.port), stage.cpu_seconds()
    began = time.perf_counter()
    statuses = asyncio.run(closed_loop(stage.port, bodies, CLIENTS, seconds))
    wall, after, now = time.perf_counter() - began, _used(stage.server), _batches(stage.port)
    of_server, of_bench, of_machine = (
        late - early for late, early in zip(stage.cpu_seconds(), all_used, strict=True)
    )
    if set(statuses) != {200}:
        raise RuntimeError(f"answers other than 200: {sorted(set(statuses) - {200})}; nothing was measured")
    event_loop, engine, decoders = (
        1000 * (late - early) / len(statuses) for late, early in zip(after, used, strict=True)
    )
    return {
        "videos": len(statuses),
        "per_s": round(len(statuses) / wall, 1),
        "loop_ms": round(event_loop, 4),
        "engine_ms": round(engine, 4),
        "decode_ms": round(max(decoders, 0.0), 4),  # a difference of counts that are rounded
        "mean_batch": {
            step: round((now[step][0] - batches[step][0]) / max(now[step][1] - batches[step][1], 1), 2)
            for step in now
        },
        "other_share": round((of_machine - of_server - of_bench) / wall / (os.cpu_count() or 1), 3),
    }


def _used(server: Running) -> tuple[float, float, float]:
    """CPU seconds so far: event loop, the process's other threads, the processes that decode."""
    pid = server.tree.pids()[0]
    threads = thread_seconds(pid)
    everything = sum(threads.values())
    return threads[pid], everything - threads[pid], server.tree.cpu_seconds() - everything


def _batches(port: int) -> dict[str, tuple[float, float]]:
    """Videos and batches so far by step, from the service's metrics."""
    address = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, dict[str, float]] = {}
    for kind, step, value in re.findall(r'^miles_batch_size_(sum|count)\{step="(\w+)"\} (\S+)$', text, re.M):
        found.setdefault(step, {})[kind] = float(value)
    return {step: (row["sum"], row["count"]) for step, row in found.items()}


def measure(seconds: float) -> dict[str, Any]:
    """Everything that measured.json holds."""
    bundle = bundle_directory(CHECKPOINT, check_file(CHECKPOINT, None))
    os.environ[BUNDLE] = str(bundle)
    card = read_bundle(bundle).card
    scorer = Scorer.from_environment()
    engine = OpenVinoEngine(read_bundle(bundle), len(os.sched_getaffinity(0)))
    engine.warm_up()
    vectors = {
        "text": engine.encode_text([[0]], [[0]])[0],
        "image": engine.neutral_image,
    }
    pictures = Pictures()
    return {
        "cores": engine.threads,
        "precision": engine.precision,
        "forwards": forwards(engine, scorer, card.config.scalars, seconds),
        "closed_loop": {
            f"batch_{batch}": {k: round(v, 3) for k, v in loop(scorer, batch, 3 * seconds).items()}
            for batch in (1, 8)
        },
        "thumbnail_bytes": [len(pictures.body(number)) for number in range(len(SIZES))],
        "entry_bytes": {tower: entry_bytes(vector) for tower, vector in vectors.items()},
        "served": served(10 * seconds),
    }


def main(arguments: Sequence[str]) -> int:
    """Measure, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.6, help="for each forward")
    parser.add_argument("--write", action="store_true", help=f"keep the result in {MEASURED.name}")
    options = parser.parse_args(arguments)
    found = measure(options.seconds)
    if options.write:
        MEASURED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{MEASURED.relative_to(ROOT)} is written; now python -m benchmarks.capacity --write")
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
