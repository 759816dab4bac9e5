"""Metrics of a real service: what one request leaves behind, and what is shown of the model."""

import asyncio
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from serving.observability.metrics import BATCH_BUCKETS, Metrics
from serving.scoring.warnings import FEWEST_ROWS
from tests.support.service import Service, ready_service
from tests.support.thumbnail_host import ThumbnailHost

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def service(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for this module alone: requests of other tests would be in its counts and its drift."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    settings = {"precision": "f32", "thumbnail_trusted_networks": "127.0.0.0/8", "thumbnail_timeout_s": 3}
    with ready_service(log, checkpoint=tiny_path, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as open_client:
        yield open_client


def samples(client: httpx.Client) -> Samples:
    """Every sample that the service shows, by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def gain(before: Samples, after: Samples, name: str, **labels: str) -> float:
    key = (name, tuple(sorted(labels.items())))
    return after.get(key, 0.0) - before.get(key, 0.0)


def test_one_score_is_counted_everywhere(client: httpx.Client, host: ThumbnailHost) -> None:
    """A scored video with a picture is one sample of each distribution, one batch of each step."""
    before = samples(client)
    video = {"title": "counted once", "thumbnail_url": host.thumbnail(501), "view_count": 5}
    answer = client.post("/predict", json=video).json()
    after = samples(client)
    assert gain(before, after, "miles_viral_score_count") == 1
    assert gain(before, after, "miles_viral_score_sum") == pytest.approx(answer["viral_score"], abs=1e-6)
    assert gain(before, after, "miles_velocity_log10_count") == 1
    assert gain(before, after, "miles_thumbnails_total", outcome="used") == 1
    for step in ("text", "image", "fusion"):
        assert gain(before, after, "miles_batch_size_count", step=step) == 1
        assert gain(before, after, "miles_batch_size_sum", step=step) == 1
        assert gain(before, after, "miles_batch_size_bucket", step=step, le="1.0") == 1


def test_batches_add_up_to_the_videos_that_they_held(client: httpx.Client) -> None:
    """Forty new titles are forty videos in the text tower's batches, in fewer than forty batches."""
    before = samples(client)
    videos = [{"title": f"batched {number}"} for number in range(40)]
    client.post("/predict/batch", json={"videos": videos})
    after = samples(client)
    assert gain(before, after, "miles_batch_size_sum", step="text") == 40
    assert gain(before, after, "miles_batch_size_count", step="text") < 40
    assert gain(before, after, "miles_batch_size_bucket", step="text", le="32.0") == gain(
        before, after, "miles_batch_size_count", step="text"
    )


@pytest.mark.parametrize(
    ("url", "outcome"),
    [
        (None, "missing"),
        ("http://", "bad_url"),
        ("http://10.1.2.3/x.jpg", "forbidden"),
        ("{host}/missing.jpg", "http_404"),
        ("{host}/huge.jpg", "too_large"),
        ("data:image/png;base64,AAAA", "not_an_image"),
    ],
)
def test_every_thumbnail_has_an_outcome(
    client: httpx.Client, host: ThumbnailHost, url: str | None, outcome: str
) -> None:
    """What became of a thumbnail is counted under the reason that the answer gives."""
    before = samples(client)
    url = url and url.format(host=host.url)
    client.post("/predict", json={"title": "thumbnail", "thumbnail_url": url})
    assert gain(before, samples(client), "miles_thumbnails_total", outcome=outcome) == 1


def test_the_model_is_named(client: httpx.Client) -> None:
    """One sample says which model serves: version, checkpoint, engine, precision, whose weights."""
    info = client.get("/model/info").json()
    expected = {
        "version": info["model_version"],
        "sha256": info["checkpoint"]["sha256"][:16],
        "engine": "openvino",
        "precision": info["engine"]["precision"],
        "weights": "owner",
    }
    assert samples(client)["miles_model_info", tuple(sorted(expected.items()))] == 1


def test_process_and_build_are_shown(client: httpx.Client, service: Service) -> None:
    """Memory and CPU time of the process itself, and what it runs on."""
    shown = samples(client)
    resident = int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{service.process.pid}/status").read_text())[0])
    assert shown["process_resident_memory_bytes", ()] == pytest.approx(resident * 1024, rel=0.2)
    assert shown["process_cpu_seconds_total", ()] > 0
    (build,) = [dict(labels) for name, labels in shown if name == "miles_build_info"]
    assert build.keys() == {"python", "openvino", "fastapi", "numpy"}
    assert shown["miles_ready", ()] == 1


def test_nothing_waits_in_an_idle_service(client: httpx.Client) -> None:
    """Each step's queue is shown, and is empty once everything has been answered."""
    shown = samples(client)
    assert [shown["miles_queue_depth", (("step", step),)] for step in ("text", "image", "fusion")] == [
        0,
        0,
        0,
    ]


def test_clients_cannot_create_labels(client: httpx.Client, host: ThumbnailHost) -> None:
    """Paths, methods, titles, URLs and statuses of image hosts add no series after the first ones."""

    def series(number: int) -> int:
        client.get(f"/made-up-{number}")
        client.request(f"BREW{number}", "/predict")
        video = {"title": f"t{number}", "thumbnail_url": f"http://10.0.0.{number}/{number}"}
        client.post("/predict", json=video, headers={"X-Request-ID": f"id-{number}"})
        client.post("/predict", json={"title": "t", "thumbnail_url": f"{host.url}/status/{700 + number}"})
        return len(samples(client))

    first = series(1)
    assert [series(number) for number in range(2, 12)] == [first] * 10


class Counting(Collector):
    """Counts how often it was read."""

    times = 0

    def collect(self) -> Iterable[Metric]:
        self.times += 1
        yield GaugeMetricFamily("times", "How often this was read.", self.times)


@pytest.mark.anyio
async def test_requests_that_come_together_share_an_exposition() -> None:
    """A crowd at /metrics costs one exposition at a time, and a later request gets a new one."""
    metrics, counting = Metrics(), Counting()
    metrics.registry.register(counting)
    before = counting.times
    crowd = [asyncio.create_task(metrics.exposition()) for _ in range(50)]
    await asyncio.sleep(0)
    crowd[0].cancel()
    assert {await each for each in crowd[1:]} == {await crowd[1]}
    assert counting.times == before + 1
    assert f"times {before + 2}.0" in (await metrics.exposition()).decode()


def test_drift_is_shown_once_enough_was_scored(client: httpx.Client) -> None:
    """After enough rows each feature that varied in training has an index, and so does the score."""
    videos = [{"title": f"drift {number % 7}", "view_count": 100 * number} for number in range(250)]
    while samples(client)["miles_drift_rows", ()] < FEWEST_ROWS:
        client.post("/predict/batch", json={"videos": videos})
    shown = {dict(labels)["feature"]: value for (name, labels), value in samples(client).items()
             if name == "miles_drift_psi"}  # fmt: skip
    told = client.get("/model/info").json()["drift"]
    assert sorted(shown) == sorted(told["watched"])
    assert "viral_score" in shown
    assert shown["age_known"] > 0.25  # none of these has a publication time; three quarters in training had


def test_batch_buckets_reach_as_far_as_the_setting() -> None:
    """The largest batch that may be set has a bucket of its own."""
    assert BATCH_BUCKETS[-1] == 256
