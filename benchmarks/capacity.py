"""Measures one replica and prints how many replicas a stream of requests needs, with the arithmetic.

    python -m benchmarks.capacity [--seconds 10] [--write]

Starts the service with its default settings and a thumbnail host on loopback. wrk loads it with new and with
known videos: first with enough clients to keep it busy (saturation), then at 60% of that rate for the
latency. It takes about a minute; close other programs. `--write` saves the measurement in
benchmarks/capacity.json and the tables in deploy/CAPACITY.md. The last line of output is JSON.
"""

import argparse
import json
import math
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from jinja2 import StrictUndefined, Template

from benchmarks.harness.contestants import (
    ROOT,
    Running,
    StartError,
    compiled,
    contestants,
    running,
    thumbnails,
)
from benchmarks.harness.load import LoadError
from benchmarks.harness.measuring import CLIENTS, COLD_VIDEOS_PER_S, WARM_REQUESTS, sample
from benchmarks.harness.processes import ProcessTree
from benchmarks.harness.report import MAX_OTHER_SHARE
from benchmarks.harness.thumbnail_host import MIX, Pictures
from benchmarks.harness.workload import Request
from model.checkpoint.file import CheckpointError
from model.compiled.bundle import read_bundle
from preprocessing.thumbnails.policy import ThumbnailPolicy
from serving.resources import usable_cpus
from serving.scoring.cache import entry_bytes
from serving.scoring.thumbnails import ThumbnailCache
from serving.settings import Settings

CHECKPOINT = ROOT / "models" / "model_full.pt"
MEASUREMENT = Path(__file__).with_suffix(".json")
TEMPLATE = Path(__file__).with_suffix(".md.jinja")
DOCUMENT = ROOT / "deploy" / "CAPACITY.md"
BLOCK = re.compile(r"(?<=<!-- measured -->\n).*?(?=\n<!-- /measured -->)", re.DOTALL)
SHARE = 0.6
"""Share of the saturated rate at which the latency is measured, and for which replicas are planned."""
# Clients that pause make a nearly Poisson stream. Long compared with an answer, so that the pauses set the
# rate; short compared with the 5 s for which the server keeps an idle connection, since wrk counts a closed
# one as a failure.
PAUSE_S = 0.4
RATES = (10, 1_000, 100_000)
KNOWN_SHARES = (0.0, 0.5, 0.9)


def measure(seconds: int) -> dict[str, Any]:
    """Measure one replica: everything that benchmarks/capacity.json holds."""
    bundle = compiled(CHECKPOINT)
    config = read_bundle(bundle).card.config
    # What is cached for a text and for a picture.
    vectors = [np.zeros(config.hidden[0], dtype=np.float32)] * 2
    pictures = Pictures()
    with (
        tempfile.TemporaryDirectory(prefix="miles-capacity-") as name,
        thumbnails(Path(name)) as (host, videos),
    ):
        known = videos.known_videos()
        with running(contestants(CHECKPOINT, bundle)[0], Path(name), known[0]) as server:
            server.predict_all([*known, *videos.new_videos(2 * max(CLIENTS))])
            new = _measure(server, host, videos.new_videos, COLD_VIDEOS_PER_S * seconds, seconds)
            again = _measure(server, host, lambda n: videos.rescored(known, n), WARM_REQUESTS, seconds)
    return {
        "processor": _processor(),
        "cores": usable_cpus(),
        "seconds": seconds,
        "thumbnail_bytes": round(mean(len(pictures.body(number)) for number in range(len(MIX)))),
        "known_video_bytes": sum(map(entry_bytes, vectors)),
        "new": new,
        "known": again,
    }


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _measure(
    server: Running,
    host: ProcessTree,
    requests: Callable[[int], list[Request]],
    count: int,
    seconds: int,
) -> dict[str, float]:
    """Load the service to saturation, then at `SHARE` of that rate. Raises `LoadError`."""
    full = sample(server, host, requests(count), max(CLIENTS), seconds)
    server.tree.settle()
    clients = round(SHARE * full.load.throughput * PAUSE_S)
    paced = sample(server, host, requests(count), clients, seconds, 1000 * PAUSE_S)
    server.tree.settle()
    return {
        "saturated_per_s": round(full.load.throughput, 1),
        "cpu_ms": round(full.cpu_ms_per_request, 2),
        "paced_per_s": round(paced.load.throughput, 1),
        "p50_ms": round(paced.load.p50_ms, 1),
        "p99_ms": round(paced.load.p99_ms, 1),
        "failed": full.load.failed + paced.load.failed,
        "other_share": round(max(full.other_share, paced.other_share), 3),
    }


def saturated_per_s(measured: Mapping[str, Any], known_share: float) -> float:
    """Requests that a replica answers per second when `known_share` of its videos are known to it."""
    new, known = (measured[kind]["saturated_per_s"] for kind in ("new", "known"))
    return float(1 / ((1 - known_share) / new + known_share / known))


def replicas(measured: Mapping[str, Any], known_share: float, rate: float) -> int:
    """Replicas for `rate` requests a second, each at `SHARE` of its saturated rate."""
    return math.ceil(rate / (SHARE * saturated_per_s(measured, known_share)))


def tables(measured: Mapping[str, Any]) -> str:
    """The marked block of deploy/CAPACITY.md: what was measured, replicas by rate, and what else runs out."""
    plans = [
        {
            "known": known,
            "saturated": saturated_per_s(measured, known),
            "planned": SHARE * saturated_per_s(measured, known),
            "replicas": [replicas(measured, known, rate) for rate in RATES],
        }
        for known in KNOWN_SHARES
    ]
    page = TEMPLATE.read_text(encoding="utf-8")
    block: str = Template(page, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined).render(
        measured,
        share=SHARE,
        rates=RATES,
        plans=plans,
        is_disturbed=max(measured[kind]["other_share"] for kind in ("new", "known")) > MAX_OTHER_SHARE,
        connections=ThumbnailPolicy().max_connections_per_host,
        cache_bytes=Settings.model_fields["cache_bytes"].default,
        urls=signature(ThumbnailCache).parameters["max_entries"].default,
    )
    return block


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10, help="duration of each of the four phases")
    parser.add_argument("--write", action="store_true", help="save the measurement and update CAPACITY.md")
    options = parser.parse_args(arguments)
    try:
        measured = measure(options.seconds)
    except (CheckpointError, StartError, LoadError) as exc:
        print(f"capacity: {exc}", file=sys.stderr)
        return 1
    print(tables(measured))
    if options.write:
        MEASUREMENT.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        page = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(BLOCK.sub(lambda _: tables(measured), page), encoding="utf-8")
    print(json.dumps(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
