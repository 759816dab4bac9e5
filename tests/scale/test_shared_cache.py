"""Replicas that share tower vectors, on the full-size demo: what that saves.

Each figure is a ratio of two kinds of video that one client sends in turn. Processor time is that of the
service's own process, without fetching and decoding pictures.
"""

import re
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import httpx
import pytest

from tests.scale.figures import Figure, scored
from tests.support.process import until
from tests.support.redis_server import cache_server
from tests.support.service import ROOT, Service, ready_service
from tests.support.thumbnail_host import ThumbnailHost, thumbnail_host

CHECKPOINT = ROOT / "models" / "model_full.pt"
VIDEOS = 60  # of each kind
TOWERS = 2  # look-ups of a request
SAME_BATCHES: dict[str, object] = {"max_batch_size": 1}  # neighbours in a batch move a score's sixth digit


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

    def hits(self) -> float:
        return self.value('miles_shared_cache_lookups_total{outcome="hit"}')

    def is_up(self) -> bool:
        """Whether it asks the shared cache."""
        return self.value("miles_shared_cache_up") == 1

    def cost(self, videos: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], float, float]:
        """Of one video after another: predictions, total processor seconds, and median seconds."""
        before, self.seconds = self.value("process_cpu_seconds_total"), []
        answers = [self.score(video) for video in videos]
        return (answers, self.value("process_cpu_seconds_total") - before, statistics.median(self.seconds))


@dataclass
class Two:
    """Two replicas that share."""

    one: Replica
    two: Replica
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
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """Two warm replicas: each has scored some other videos."""
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
        one, two = (
            Replica(stack.enter_context(ready_service(folder / name, **settings, **shares)))
            for name in ("one", "two")
        )
        running = Two(one, two, host)
        until(lambda: one.is_up() and two.is_up())
        for replica in (one, two):
            replica.cost(running.videos(20))
        yield running


@pytest.mark.scale
def test_a_vector_computed_by_one_replica_costs_another_little(replicas: Two, figure: Figure) -> None:
    """A video of another replica is scored the same without a tower's forward, in less processor time."""
    videos = replicas.videos()
    stored = replicas.one.value('miles_shared_cache_writes_total{outcome="stored"}')
    first, anew_cpu, anew_s = replicas.one.cost(videos)
    until(
        lambda: (
            replicas.one.value('miles_shared_cache_writes_total{outcome="stored"}')
            == stored + TOWERS * VIDEOS
        )
    )
    hits = replicas.two.hits()
    second, shared_cpu, shared_s = replicas.two.cost(videos)
    assert replicas.two.hits() == hits + TOWERS * VIDEOS
    third, own_cpu, own_s = replicas.two.cost(videos)
    assert first == second == third
    assert replicas.two.hits() == hits + TOWERS * VIDEOS
    for whose, cpu, median in (("another's", shared_cpu, shared_s), ("its own", own_cpu, own_s)):
        figure(f"Cached: {whose} video, processor time as a share of computing", round(cpu / anew_cpu, 2))
        figure(f"Cached: {whose} video, median time as a share of computing", round(median / anew_s, 2))
