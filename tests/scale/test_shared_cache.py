"""Replicas that share tower vectors, on the full-size demo: what that saves, and a server that hangs or dies.

Each figure is a ratio of two services, or of two kinds of video, that one client asked in turn. Processor
time is that of the service's own process, without fetching and decoding pictures.
"""

import re
import signal
import statistics
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import httpx
import pytest

from serving.scoring.shared_cache import MAX_FAILURES
from tests.scale.figures import Figure, scored
from tests.support.process import until
from tests.support.redis_server import Server, cache_server
from tests.support.service import ROOT, Service, ready_service
from tests.support.thumbnail_host import ThumbnailHost, thumbnail_host

CHECKPOINT = ROOT / "models" / "model_full.pt"
VIDEOS = 60  # of each kind
AT_ONCE = 4  # requests that the client has under way
TOWERS = 2  # look-ups of a request
SAME_BATCHES: dict[str, object] = {"max_batch_size": 1}  # who shares a batch moves a score in its sixth digit
IN_VAIN, ANSWERED = ("late", "failed"), ("hit", "miss", "corrupt")  # outcomes of look-ups
STOPS = {"hangs": signal.SIGSTOP, "dies": signal.SIGKILL}


@dataclass
class Replica:
    service: Service
    seconds: list[float] = field(default_factory=list)

    def score(self, video: dict[str, Any]) -> dict[str, Any]:
        """The prediction; raises for any answer but a 200."""
        started = perf_counter()
        answer = httpx.post(f"{self.service.url}/predict", json=video, timeout=60)
        self.seconds.append(perf_counter() - started)
        answer.raise_for_status()
        return scored(answer)

    def value(self, metric: str) -> float:
        text = httpx.get(f"{self.service.url}/metrics").text
        found = re.search(rf"^{re.escape(metric)} (\S+)$", text, re.MULTILINE)
        assert found is not None, metric
        return float(found[1])

    def lookups(self, *outcomes: str) -> float:
        """How many look-ups ended so."""
        return sum(
            self.value(f'miles_shared_cache_lookups_total{{outcome="{outcome}"}}') for outcome in outcomes
        )

    def is_up(self) -> bool:
        """Whether it asks the shared cache."""
        return self.value("miles_shared_cache_up") == 1

    def cost(self, videos: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], float, float]:
        """Of one video after the other: predictions, processor seconds in all, and the median's seconds."""
        before, self.seconds = self.value("process_cpu_seconds_total"), []
        answers = [self.score(video) for video in videos]
        return (answers, self.value("process_cpu_seconds_total") - before, statistics.median(self.seconds))


@dataclass
class Three:
    """Two replicas that share, and one that does not."""

    one: Replica
    two: Replica
    alone: Replica
    server: Server
    host: ThumbnailHost
    made: int = 0

    def videos(self, count: int = VIDEOS) -> list[dict[str, Any]]:
        self.made += count
        return [
            {
                "title": f"I tried {number} viral pasta hacks so you do not have to",
                "thumbnail_url": self.host.thumbnail(number),
                "view_count": 10 * number,
                "published_at": "2018-01-02T00:00:00Z",
                "observed_at": "2018-01-05T00:00:00Z",
            }
            for number in range(self.made - count, self.made)
        ]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Three]:
    """All warm: each has scored some other videos."""
    assert CHECKPOINT.exists(), "make model makes it"
    folder = tmp_path_factory.mktemp("replicas")
    settings = {
        "checkpoint": CHECKPOINT,
        "thumbnail_trusted_networks": "127.0.0.0/8",
        "log_level": "warning",
        **SAME_BATCHES,
    }
    with ExitStack() as stack:
        server, host = stack.enter_context(cache_server(folder)), stack.enter_context(thumbnail_host())
        shares = {"shared_cache_url": server.url}
        one, two, alone = (
            Replica(stack.enter_context(ready_service(folder / name, **settings, **own)))
            for name, own in {"one": shares, "two": shares, "alone": {}}.items()
        )
        running = Three(one, two, alone, server, host)
        until(lambda: one.is_up() and two.is_up())
        for replica in (one, two, alone):
            replica.cost(running.videos(20))
        yield running


@pytest.mark.scale
def test_what_one_replica_computed_costs_another_little(three: Three, figure: Figure) -> None:
    """Another's video is scored the same without a forward of a tower, for less processor time."""
    videos = three.videos()
    stored = three.one.value('miles_shared_cache_writes_total{outcome="stored"}')
    first, anew_cpu, anew_s = three.one.cost(videos)
    until(
        lambda: (
            three.one.value('miles_shared_cache_writes_total{outcome="stored"}') == stored + TOWERS * VIDEOS
        )
    )
    hits = three.two.lookups("hit")
    second, shared_cpu, shared_s = three.two.cost(videos)
    assert three.two.lookups("hit") == hits + TOWERS * VIDEOS
    third, own_cpu, own_s = three.two.cost(videos)
    assert first == second == third
    assert three.two.lookups("hit") == hits + TOWERS * VIDEOS
    for whose, cpu, median in (("another's", shared_cpu, shared_s), ("its own", own_cpu, own_s)):
        figure(f"Cached: {whose} video, processor time as a share of computing", round(cpu / anew_cpu, 2))
        figure(f"Cached: {whose} video, median time as a share of computing", round(median / anew_s, 2))


@pytest.mark.scale
@pytest.mark.parametrize("how", STOPS)
def test_a_stopped_server_costs_no_answer(three: Three, figure: Figure, how: str) -> None:
    """Under load all requests are answered as without it; few look-ups are waited for, none once it rests."""
    ratios(three, figure, f"{how}, before", three.videos())
    until(three.two.is_up)  # a busy machine may have given it a rest
    before = three.two.lookups(*IN_VAIN)
    stopping = threading.Timer(0.2, three.server.signal, [STOPS[how]])
    stopping.start()
    ratios(three, figure, f"{how} meanwhile", three.videos(2 * VIDEOS))
    stopping.join()
    assert not three.two.is_up()
    in_vain = three.two.lookups(*IN_VAIN) - before
    figure(f"Shared cache {how}: look-ups waited for in vain", int(in_vain))
    assert 0 < in_vain <= MAX_FAILURES + TOWERS * AT_ONCE
    asked = three.two.lookups(*IN_VAIN, *ANSWERED)
    ratios(three, figure, f"{how}, at rest", three.videos())
    assert three.two.lookups(*IN_VAIN, *ANSWERED) == asked
    three.server.come_back(STOPS[how])
    until(three.two.is_up)
    answered = three.two.lookups(*ANSWERED)
    ratios(three, figure, f"{how}, back again", three.videos())
    assert three.two.lookups(*ANSWERED) > answered


def ratios(three: Three, figure: Figure, phase: str, videos: Sequence[dict[str, Any]]) -> None:
    """Ask both services for each video and compare what they say; how long they take is printed."""
    three.two.seconds, three.alone.seconds = [], []

    def ask(numbered: tuple[int, dict[str, Any]]) -> bool:
        number, video = numbered
        order = (three.two, three.alone) if number % 2 else (three.alone, three.two)
        said = [replica.score(video) for replica in order]
        return said[0] == said[1]

    with ThreadPoolExecutor(AT_ONCE) as clients:
        same = list(clients.map(ask, enumerate(videos)))
    assert same == [True] * len(videos)
    for name, place in (("p50", 50), ("p99", 99)):
        with_it, without = (
            statistics.quantiles(replica.seconds, n=100)[place - 1] for replica in (three.two, three.alone)
        )
        figure(f"Shared cache {phase}: {name} as a multiple of without", round(with_it / without, 2))
