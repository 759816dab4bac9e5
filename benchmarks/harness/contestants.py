"""Who runs: each server's command and environment, and how its start is timed.

Miles is started as its container starts it: from the compiled bundle, with the settings that it ships with.
Peers whose packages pin what Miles pins otherwise live in an environment of their own.
"""

import json
import os
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.load import Load, run_load
from benchmarks.harness.processes import ProcessTree, started
from benchmarks.harness.workload import Request, write_bodies

ROOT = Path(__file__).parents[2]
PEERS_PYTHON = ROOT / "build" / "bench-venv" / "bin" / "python"
START_LIMIT_S = 90
POLL_S = 0.02
# Whatever proxy the environment names is not for loopback.
_web = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class StartError(Exception):
    """A server that cannot be started or never answers; says why in a line."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A server that can be started; `{port}` in its command and environment is where it listens."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    wire_is_a_list: bool = False
    takes_batches: bool = False
    remembers: bool = False
    """Whether a video that it has scored may cost it less; if not, known videos are new ones to it."""
    scores_alike: bool = True
    """Whether its scores must be those of Miles."""
    alone_only: bool = False
    """Whether only what one client gets of it is of interest."""


class Running:
    """A contestant that answers."""

    def __init__(self, contestant: Contestant, tree: ProcessTree, url: str, folder: Path) -> None:
        self.contestant = contestant
        self.tree = tree
        self.start_s = 0.0
        self.url = url
        self._folder = folder

    def predict(self, request: Request) -> dict[str, Any]:
        """One answer."""
        listed = self.contestant.wire_is_a_list
        answer = post(f"{self.url}/predict", [request] if listed else request)
        return dict(answer[0] if listed else answer)

    def predict_all(self, requests: Sequence[Request]) -> None:
        """Answers to many videos, as quickly as its interface lets one client have them."""
        if self.contestant.takes_batches:
            post(f"{self.url}/predict/batch", {"videos": requests})
            return
        self.predict_one_by_one(requests)

    def predict_at_once(self, requests: Sequence[Request]) -> None:
        """The same as single requests, from as many clients."""
        with ThreadPoolExecutor(len(requests)) as clients:
            list(clients.map(self.predict, requests))

    def predict_one_by_one(self, requests: Sequence[Request]) -> None:
        """The same as single requests, from one client."""
        for request in requests:
            self.predict(request)

    def load(self, requests: list[Request], clients: int, seconds: int) -> Load:
        """Load it with so many clients."""
        bodies = self._folder / f"{self.contestant.name}.jsonl"
        write_bodies(bodies, requests, in_a_list=self.contestant.wire_is_a_list)
        return run_load(f"{self.url}/predict", bodies, clients, seconds)


@contextmanager
def running(contestant: Contestant, folder: Path, first: Request) -> Iterator[Running]:
    """The server, once it has answered `first`. Raises `StartError`."""
    if not Path(contestant.command[0]).exists():
        raise StartError(f"{contestant.command[0]} is not there: its packages were not installed")
    port = free_port()
    log = folder / f"{contestant.name}.log"
    command = [word.replace("{port}", str(port)) for word in contestant.command]
    environment = {name: value.replace("{port}", str(port)) for name, value in contestant.environment.items()}
    began = time.perf_counter()
    with started(command, environment, ROOT, log) as tree:
        server = Running(contestant, tree, f"http://127.0.0.1:{port}", folder)
        _await_first_answer(server, first, log)
        server.start_s = time.perf_counter() - began
        yield server


def _await_first_answer(server: Running, first: Request, log: Path) -> None:
    deadline, last = time.monotonic() + START_LIMIT_S, "no answer"
    while server.tree.running and time.monotonic() < deadline:
        try:
            server.predict(first)
        except (OSError, ValueError) as exc:  # not listening yet, 503 while it loads
            last = str(exc)
            time.sleep(POLL_S)
        else:
            return
    said = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise StartError(f"{last}; it said: {' '.join(said)[:300] or 'nothing'}")


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def post(url: str, body: Any) -> Any:
    """POST JSON, get JSON. Raises `OSError` for anything but a good answer."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310  our loopback
    with _web.open(request, timeout=120) as response:
        return json.loads(response.read())


def contestants(checkpoint: Path, bundle: Path) -> list[Contestant]:
    """Miles and its peers."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MILES_")}
    settings = {
        "MILES_CHECKPOINT": str(bundle),
        "MILES_HOST": "127.0.0.1",
        "MILES_PORT": "{port}",
        "MILES_THUMBNAIL_TRUSTED_NETWORKS": "127.0.0.0/8",
    }
    engine = clean | {"BENCH_BUNDLE": str(bundle), "BENCH_CHECKPOINT": str(checkpoint)}
    ours, theirs = sys.executable, str(PEERS_PYTHON)
    return [
        Contestant("miles", [ours, "app.py"], clean | settings, takes_batches=True, remembers=True),
        Contestant(
            "unguarded", _module(ours, "unguarded"), clean | settings, remembers=True, alone_only=True
        ),
        Contestant("seed", _module(ours, "seed"), engine, scores_alike=False),
        Contestant("litserve", _module(theirs, "litserve_peer"), engine),
        Contestant("bentoml", _module(theirs, "bentoml_peer"), engine, wire_is_a_list=True),
        Contestant("threaded", _module(ours, "threaded"), engine),
    ]


def _module(python: str, name: str) -> list[str]:
    return [python, "-m", f"benchmarks.peers.{name}", "{port}"]
