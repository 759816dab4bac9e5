"""Loads the servers phase by phase and records latency, throughput and CPU time."""

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.harness.contestants import Contestant, Running, StartError, running
from benchmarks.harness.load import Load, LoadError, enough_seconds
from benchmarks.harness.processes import ProcessTree, machine_cpu_seconds
from benchmarks.harness.workload import Request, Workload

CLIENTS = (1, 8, 32)
CACHES = ("cold", "warm")
BATCH_VIDEOS = 50
# More than any of today's servers answers: a phase that ran out of videos would repeat some.
COLD_VIDEOS_PER_S = 400
WARM_REQUESTS = 2000
Settings = tuple[int, int]
"""The largest batch of a server, and the number of its workers."""
DEFAULT: Settings = (8, 1)
SWEPT = tuple(product((8, 16, 32), (1, 2)))


class Phase(NamedTuple):
    """New (cold) or known (warm) videos, and the number of clients."""

    cache: str
    clients: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One phase of one server; shares are of all cores."""

    load: Load
    cpu_ms_per_request: float
    host_share: float
    wrk_share: float
    other_share: float
    """Share of the cores used by processes outside the benchmark."""


def sample(
    server: Running,
    host: ProcessTree,
    requests: list[Request],
    clients: int,
    seconds: int,
    think_ms: float = 0.0,
) -> Sample:
    """Load a server, and account for the CPU time of everything that runs meanwhile. Raises `LoadError`."""

    def cpu_seconds() -> tuple[float, float, float, float]:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)  # wrk, once it has ended
        wrk = children.ru_utime + children.ru_stime
        return server.tree.cpu_seconds(), host.cpu_seconds(), wrk, machine_cpu_seconds()

    before, began = cpu_seconds(), time.perf_counter()
    load = server.load(requests, clients, seconds, think_ms)
    used = [now - then for now, then in zip(cpu_seconds(), before, strict=True)]
    of_server, of_host, of_wrk, of_machine = used
    capacity = (time.perf_counter() - began) * (os.cpu_count() or 1)
    return Sample(
        load=load,
        cpu_ms_per_request=1000 * of_server / max(load.requests, 1),
        host_share=of_host / capacity,
        wrk_share=of_wrk / capacity,
        other_share=max(of_machine - of_server - of_host - of_wrk, 0.0) / capacity,
    )


@dataclass
class Sweep:
    """Answers per second of each peer by its settings, with many clients, and of Miles beside them."""

    rates: dict[str, dict[Settings, float]] = field(default_factory=dict)

    def best(self, name: str) -> Settings:
        """The settings with the most answers; the default ones for a server without figures."""
        rates = self.rates.get(name, {})
        return max(rates, key=lambda settings: rates[settings], default=DEFAULT)


@dataclass
class Results:
    """Everything that was measured, by server."""

    samples: dict[tuple[str, Phase], list[Sample]] = field(default_factory=dict)
    batch_s: dict[str, list[float]] = field(default_factory=dict)
    """Seconds for fifty new videos from one client."""
    memory_mb: dict[str, float] = field(default_factory=dict)
    start_s: dict[str, float] = field(default_factory=dict)
    score_difference: dict[str, float] = field(default_factory=dict)
    floors: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    sweep: Sweep = field(default_factory=Sweep)


class Bench:
    """Measures servers in turns. All of them are paused except the one that is measured."""

    def __init__(
        self,
        servers: Sequence[Running],
        host: ProcessTree,
        workload: Workload,
        seconds: float,
        results: Results,
        clients: Sequence[int] = CLIENTS,
    ) -> None:
        self._clients = clients
        self._servers = list(servers)
        self._host = host
        self._workload = workload
        self._seconds = seconds
        self._results = results
        self._known = workload.known_videos()

    def round(self, number: int) -> None:
        """Measure every server in every phase; the order of the servers rotates from round to round."""
        for cache in CACHES:
            for clients in self._clients:
                requests = self._requests(cache)
                for server in self._turns(number):
                    if self._is_measured(server, Phase(cache, clients)):
                        self._measure(server, Phase(cache, clients), requests)
        videos = self._workload.new_videos(BATCH_VIDEOS)
        for server in self._turns(number):
            if not server.contestant.one_client_only:
                self._measure_batch(server, videos)

    def _is_measured(self, server: Running, phase: Phase) -> bool:
        """Without a cache, known videos cost what new ones do: one client is enough."""
        contestant = server.contestant
        if phase.clients == CLIENTS[0]:
            return True
        return not contestant.one_client_only and (phase.cache == "cold" or contestant.has_cache)

    def _turns(self, number: int) -> Iterable[Running]:
        alive = [server for server in self._servers if server.contestant.name not in self._results.failures]
        first = number % max(len(alive), 1)
        return alive[first:] + alive[:first]

    def _requests(self, cache: str) -> list[Request]:
        if cache == "warm":
            return self._workload.rescored(self._known, WARM_REQUESTS)
        return self._workload.new_videos(int(COLD_VIDEOS_PER_S * self._seconds))

    def _measure(self, server: Running, phase: Phase, requests: list[Request]) -> None:
        name = server.contestant.name
        with self._resumed(server, f"{phase.clients} clients, {phase.cache}"):
            primed = phase.cache == "warm" and server.contestant.has_cache
            for video in self._known if primed else self._workload.new_videos(1):
                server.predict(video)
            seconds = enough_seconds(self._seconds, phase.clients, self._one_client_ms(server))
            found = sample(server, self._host, requests, phase.clients, seconds)
            self._results.samples.setdefault((name, phase), []).append(found)

    def _one_client_ms(self, server: Running) -> float:
        """The p50 of the phases with one client; 0 before them."""
        found = self._results.samples.get((server.contestant.name, Phase("cold", 1)), [])
        return found[-1].load.p50_ms if found else 0.0

    def _measure_batch(self, server: Running, videos: list[Request]) -> None:
        with self._resumed(server, f"{BATCH_VIDEOS} videos"):
            began = time.perf_counter()
            server.predict_all(videos)
            taken = time.perf_counter() - began
            self._results.batch_s.setdefault(server.contestant.name, []).append(taken)

    @contextmanager
    def _resumed(self, server: Running, what: str) -> Iterator[None]:
        """Let one server run; an error inside is recorded as its failure."""
        name = server.contestant.name
        server.tree.resume()
        try:
            yield
        except (LoadError, OSError, ValueError) as exc:
            self._results.failures[name] = f"{what}: {exc}"
        server.tree.settle()
        used = server.tree.memory_mb()
        self._results.memory_mb[name] = max(used, self._results.memory_mb.get(name, 0))
        server.tree.pause()


def sweep(
    contestants: Sequence[Contestant],
    folder: Path,
    host: ProcessTree,
    workload: Workload,
    seconds: int,
    say: Callable[[str], None],
) -> Sweep:
    """Each peer with all settings, and Miles beside them, with many clients; a failed run has no figure."""

    def rate(contestant: Contestant, settings: Settings) -> float:
        what = f"{contestant.name}, batches of {settings[0]}, {settings[1]} workers"
        with ExitStack() as stack:
            try:
                changed = contestant.changed(*settings)
                server = stack.enter_context(running(changed, folder, workload.new_videos(1)[0]))
                for video in workload.new_videos(2):
                    server.predict(video)
                videos = workload.new_videos(COLD_VIDEOS_PER_S * seconds)
                found = sample(server, host, videos, CLIENTS[-1], seconds)
            except (StartError, LoadError, OSError, ValueError) as exc:
                say(f"{what}: {exc}")
                return 0.0
        say(f"{what}: {found.load.throughput:.1f} a second")
        return found.load.throughput

    swept = Sweep()
    for contestant in contestants:
        if contestant.is_swept or contestant.takes_batches:
            tried = SWEPT if contestant.is_swept else (DEFAULT,)
            rates = {settings: rate(contestant, settings) for settings in tried}
            swept.rates[contestant.name] = {each: found for each, found in rates.items() if found}
    return swept
