"""One phase after the other: who is measured, with which videos, and what it cost."""

import os
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from benchmarks.harness.contestants import Running
from benchmarks.harness.load import Load, LoadError, enough_seconds
from benchmarks.harness.processes import ProcessTree, machine_cpu_seconds
from benchmarks.harness.workload import Request, Workload

CLIENTS = (1, 8, 32)
CACHES = ("cold", "warm")
BATCH_VIDEOS = 50
# More than any server of today answers; a phase that ran out would ask for a video again.
COLD_VIDEOS_PER_S = 400
WARM_REQUESTS = 2000


class Phase(NamedTuple):
    """What is asked for, and by how many."""

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
    """What processes that are no part of the benchmark took."""


@dataclass
class Results:
    """Everything that was measured, by server."""

    samples: dict[tuple[str, Phase], list[Sample]] = field(default_factory=dict)
    batch_s: dict[str, list[float]] = field(default_factory=dict)
    """Seconds for fifty new videos from one client."""
    singles_s: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    """Seconds for fifty new videos as single requests: one after the other, and all at once."""
    resident_mb: dict[str, float] = field(default_factory=dict)
    start_s: dict[str, float] = field(default_factory=dict)
    score_difference: dict[str, float] = field(default_factory=dict)
    floors: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


class Bench:
    """Measures servers in turns. They are paused when it begins, and between their turns."""

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
        """Every phase, every server; the order rotates."""
        for cache in CACHES:
            for clients in self._clients:
                requests = self._requests(cache)
                for server in self._turns(number):
                    if self._is_asked(server, Phase(cache, clients)):
                        self._measure(server, Phase(cache, clients), requests)
        videos, singles, more = (self._workload.new_videos(BATCH_VIDEOS) for _ in range(3))
        for server in self._turns(number):
            if server.contestant.alone_only:
                continue
            self._measure_batch(server, videos)
            if server.contestant.takes_batches:
                self._measure_singles(server, singles, more)

    def _is_asked(self, server: Running, phase: Phase) -> bool:
        """To a server that remembers nothing, known videos are new ones: once will do."""
        contestant = server.contestant
        if phase.clients == CLIENTS[0]:
            return True
        return not contestant.alone_only and (phase.cache == "cold" or contestant.remembers)

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
        server.tree.resume()
        try:
            primed = phase.cache == "warm" and server.contestant.remembers
            for video in self._known if primed else self._workload.new_videos(1):
                server.predict(video)
            sample = self._sample(server, requests, phase.clients)
            self._results.samples.setdefault((name, phase), []).append(sample)
        except (LoadError, OSError, ValueError) as exc:
            self._results.failures[name] = f"{phase.clients} clients, {phase.cache}: {exc}"
        server.tree.settle()
        used = server.tree.resident_mb()
        self._results.resident_mb[name] = max(used, self._results.resident_mb.get(name, 0))
        server.tree.pause()

    def _sample(self, server: Running, requests: list[Request], clients: int) -> Sample:
        seconds = enough_seconds(self._seconds, clients, self._one_client_ms(server))
        before, began = self._cpu(server), time.perf_counter()
        load = server.load(requests, clients, seconds)
        used = [now - then for now, then in zip(self._cpu(server), before, strict=True)]
        of_server, of_host, of_wrk, of_machine = used
        capacity = (time.perf_counter() - began) * (os.cpu_count() or 1)
        return Sample(
            load=load,
            cpu_ms_per_request=1000 * of_server / max(load.requests, 1),
            host_share=of_host / capacity,
            wrk_share=of_wrk / capacity,
            other_share=max(of_machine - of_server - of_host - of_wrk, 0.0) / capacity,
        )

    def _cpu(self, server: Running) -> tuple[float, float, float, float]:
        """CPU seconds so far: server, thumbnail host, ended children (wrk), machine."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (
            server.tree.cpu_seconds(),
            self._host.cpu_seconds(),
            children.ru_utime + children.ru_stime,
            machine_cpu_seconds(),
        )

    def _one_client_ms(self, server: Running) -> float:
        """What the phases with one client found; 0 before them."""
        found = self._results.samples.get((server.contestant.name, Phase("cold", 1)), [])
        return found[-1].load.p50_ms if found else 0.0

    def _measure_batch(self, server: Running, videos: list[Request]) -> None:
        with self._awake(server, f"{BATCH_VIDEOS} videos"):
            taken = _seconds(server.predict_all, videos)
            self._results.batch_s.setdefault(server.contestant.name, []).append(taken)

    def _measure_singles(self, server: Running, videos: list[Request], others: list[Request]) -> None:
        with self._awake(server, f"{BATCH_VIDEOS} single requests"):
            pair = _seconds(server.predict_one_by_one, videos), _seconds(server.predict_at_once, others)
            self._results.singles_s.setdefault(server.contestant.name, []).append(pair)

    @contextmanager
    def _awake(self, server: Running, what: str) -> Iterator[None]:
        """The processor is the server's within; what goes wrong there is its failure."""
        server.tree.resume()
        try:
            yield
        except (OSError, ValueError) as exc:
            self._results.failures[server.contestant.name] = f"{what}: {exc}"
        server.tree.settle()
        server.tree.pause()


def _seconds(ask: Callable[[list[Request]], None], videos: list[Request]) -> float:
    began = time.perf_counter()
    ask(videos)
    return time.perf_counter() - began
