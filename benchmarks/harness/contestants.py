"""The servers that are compared: their commands and environments, and how their start is timed.

Miles starts as its container starts it: from the compiled bundle, with the default settings. Peers whose
packages pin other versions than Miles does have a virtual environment of their own.
"""

import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.harness.load import Load, run_load
from benchmarks.harness.processes import ProcessTree, started
from benchmarks.harness.workload import Request, Workload, write_bodies
from model.checkpoint.file import check_file
from model.compiled.files import bundle_directory

ROOT = Path(__file__).parents[2]
PEERS_PYTHON = ROOT / "build" / "bench-venv" / "bin" / "python"
CHECKPOINT = ROOT / "build" / "bench" / "model.pt"
"""What `benchmarks.harness.checkpoint` makes."""
START_LIMIT_S = 90
POLL_S = 0.02
# Proxies from the environment must not be used for loopback.
_web = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StartError(Exception):
    """A server cannot be started or never answers; the message gives the reason in one line."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that can be started; `{port}` in its command and environment is replaced by its port."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    wire_is_a_list: bool = False
    takes_batches: bool = False
    has_cache: bool = False
    """Whether a video that was scored before may be cheaper."""
    same_scores: bool = True
    """Whether its scores must equal those of Miles."""
    one_client_only: bool = False
    """Whether it is measured with a single client only."""
    is_swept: bool = False
    """Whether it takes BENCH_BATCH and BENCH_WORKERS."""
    folder: Path = ROOT
    """The directory that it is started in."""

    def changed(self, batch: int, workers: int) -> "Contestant":
        """The same server with batches of up to `batch` and `workers` processes that run the network."""
        settings = {"BENCH_BATCH": str(batch), "BENCH_WORKERS": str(workers)}
        return replace(self, environment={**self.environment, **settings})


class Running:
    """A contestant that has answered its first request."""

    def __init__(self, contestant: Contestant, tree: ProcessTree, url: str, folder: Path) -> None:
        self.contestant = contestant
        self.tree = tree
        self.start_s = 0.0
        self.url = url
        self._folder = folder

    def predict(self, request: Request) -> dict[str, Any]:
        in_a_list = self.contestant.wire_is_a_list
        answer = post(f"{self.url}/predict", [request] if in_a_list else request)
        return dict(answer[0] if in_a_list else answer)

    def predict_all(self, requests: Sequence[Request]) -> None:
        """Score many videos for one client, in one batch request where the server has them."""
        if self.contestant.takes_batches:
            post(f"{self.url}/predict/batch", {"videos": requests})
            return
        for request in requests:
            self.predict(request)

    def load(self, requests: list[Request], clients: int, seconds: int, think_ms: float = 0.0) -> Load:
        """Load it with wrk. Raises `LoadError`."""
        bodies = self._folder / f"{self.contestant.name}.jsonl"
        write_bodies(bodies, requests, in_a_list=self.contestant.wire_is_a_list)
        return run_load(f"{self.url}/predict", bodies, clients, seconds, think_ms)


@contextmanager
def running(contestant: Contestant, folder: Path, first: Request) -> Iterator[Running]:
    """The server, once it has answered `first`. Raises `StartError`."""
    if not Path(contestant.command[0]).exists():
        raise StartError(f"{contestant.command[0]} does not exist: its packages were not installed")
    port = free_port()
    log = folder / f"{contestant.name}.log"
    command = [word.replace("{port}", str(port)) for word in contestant.command]
    environment = {name: value.replace("{port}", str(port)) for name, value in contestant.environment.items()}
    began = time.perf_counter()
    with started(command, environment, contestant.folder, log) as tree:
        server = Running(contestant, tree, f"http://127.0.0.1:{port}", folder)
        _await_first_answer(server, first, log)
        server.start_s = time.perf_counter() - began
        yield server


def _await_first_answer(server: Running, first: Request, log: Path) -> None:
    deadline, error = time.monotonic() + START_LIMIT_S, "no answer"
    while server.tree.running and time.monotonic() < deadline:
        try:
            server.predict(first)
        except (OSError, ValueError) as exc:  # not listening yet, or 503 while it loads
            error = str(exc)
            time.sleep(POLL_S)
        else:
            return
    last_line = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise StartError(f"{error}; last line of its output: {' '.join(last_line)[:300] or '(empty)'}")


@contextmanager
def thumbnails(folder: Path) -> Iterator[tuple[ProcessTree, Workload]]:
    """The thumbnail host in a process of its own, and videos whose pictures it has."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.harness.thumbnail_host", str(port)]
    with started(command, os.environ, ROOT, folder / "host.log") as host:
        _await_listening(host, port)
        yield host, Workload(f"http://127.0.0.1:{port}")


def _await_listening(host: ProcessTree, port: int) -> None:
    while host.running:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(POLL_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def post(url: str, body: Any) -> Any:
    """POST JSON and return the answer's JSON. Raises `OSError` for an error status or no answer."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310  our loopback
    with _web.open(request, timeout=120) as response:
        return json.loads(response.read())


def compiled(checkpoint: Path) -> Path:
    """The compiled bundle of a checkpoint. Raises `CheckpointError`."""
    return bundle_directory(checkpoint, check_file(checkpoint, None))


def contestants(checkpoint: Path, bundle: Path, before: Path | None = None) -> list[Contestant]:
    """Miles first, then its peers; `before` is a checkout of an earlier Miles with its own `bundle`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MILES_")}
    settings = {
        "MILES_CHECKPOINT": str(bundle),
        "MILES_HOST": "127.0.0.1",
        "MILES_PORT": "{port}",
        "MILES_THUMBNAIL_TRUSTED_NETWORKS": "127.0.0.0/8",
    }
    engine = clean | {
        "BENCH_BUNDLE": str(bundle),
        "BENCH_CHECKPOINT": str(checkpoint),
        "BENCH_ONNX": str(checkpoint.parent / "onnx"),
    }
    ours, theirs = sys.executable, str(PEERS_PYTHON)
    miles = Contestant("miles", [ours, "app.py"], clean | settings, takes_batches=True, has_cache=True)
    earlier = []
    if before is not None:
        its_own = {"MILES_CHECKPOINT": str(before.resolve() / "bundle")}
        earlier = [replace(miles, name="before", environment=clean | settings | its_own, folder=before)]
    return [
        miles,
        *earlier,
        Contestant(
            "unguarded", _module(ours, "unguarded"), clean | settings, has_cache=True, one_client_only=True
        ),
        Contestant("seed", _module(ours, "seed"), engine, same_scores=False),
        Contestant(
            "afternoon", [*_module(theirs, "afternoon")[:-1], "serve", "{port}"], engine, same_scores=False
        ),
        Contestant("litserve", _module(theirs, "litserve_peer"), engine, is_swept=True),
        Contestant("bentoml", _module(theirs, "bentoml_peer"), engine, wire_is_a_list=True, is_swept=True),
        Contestant("mosec", _module(theirs, "mosec_peer"), engine, is_swept=True),
        Contestant("ray", _module(theirs, "ray_peer"), engine, is_swept=True),
        Contestant("threaded", _module(ours, "threaded"), engine),
    ]


def _module(python: str, name: str) -> list[str]:
    return [python, "-m", f"benchmarks.peers.{name}", "{port}"]
