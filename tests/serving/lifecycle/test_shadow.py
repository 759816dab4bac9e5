"""A second checkpoint that scores beside the served one: scores, queue, faults, and taking its place."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.lifecycle.shadow import ONE_IN
from tests.serving.lifecycle.test_lifecycle import waiting_request
from tests.support.process import LIMIT_S, PLAIN, until
from tests.support.service import Service, ready_service
from tests.support.tiny_bundle import write_tiny_bundle

KEY = "a-key-for-the-shadow-test"
CAPACITY = 4
VIDEOS = [{"title": f"video {number}", "view_count": 10**number} for number in range(3)]


@dataclass
class Shadowed:
    """A service of the bundle behind the link `served`, with a shadow."""

    service: Service
    served: Path

    def post(self, path: str, body: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {KEY}"}
        return httpx.post(self.service.url + path, json=body, headers=headers, timeout=LIMIT_S, verify=PLAIN)

    def counted(self) -> dict[str, float]:
        """Videos by the shadow's outcome, and the values of `ready` and `busy`."""
        text = httpx.get(f"{self.service.url}/metrics", verify=PLAIN).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        found = {s.labels["outcome"]: s.value for s in samples if s.name == "miles_shadow_total"}
        for name in ("ready", "busy_total"):
            (value,) = [s.value for s in samples if s.name == f"miles_shadow_{name}"]
            found[name.removesuffix("_total")] = value
        return found

    def logged(self, event: str) -> list[dict[str, object]]:
        lines = [line for line in self.service.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tiny_bundle, write_tiny_bundle(tmp_path_factory.mktemp("other"), seed=8)


@contextmanager
def shadowed(folder: Path, served: Path, shadow: Path) -> Iterator[Shadowed]:
    """A ready service of `served`, behind a link in `folder`, with a shadow."""
    link = folder / "served"
    link.symlink_to(served)
    settings = {"api_keys": KEY, "max_queue_size": CAPACITY, "log_format": "json", "threads": 1}
    network = "127.0.0.0/8"
    with ready_service(
        folder / "service.log",
        checkpoint=link,
        shadow_checkpoint=shadow,
        thumbnail_trusted_networks=network,
        thumbnail_timeout_s=60,
        request_timeout_s=LIMIT_S,
        **settings,
    ) as service:
        yield Shadowed(service, link)


@pytest.fixture(scope="module")
def running(bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shadowed]:
    """One such service, whose shadow is loaded."""
    with shadowed(tmp_path_factory.mktemp("shadow"), *bundles) as found:
        until(lambda: found.counted()["ready"])
        yield found


def test_every_served_video_is_logged_with_both_scores(running: Shadowed) -> None:
    """A log line with the request's id, and a count, without being asked for."""
    answer = running.post("/predict", {"title": "to be logged"})
    request_id = answer.headers["X-Request-ID"]
    until(lambda: request_id in [line["request_id"] for line in running.logged("shadow_scored")])
    (line,) = [line for line in running.logged("shadow_scored") if line["request_id"] == request_id]
    assert line["served_viral_score"] == answer.json()["viral_score"]
    assert "shadow" not in answer.json()
    assert line["viral_score"] != line["served_viral_score"]
    assert running.counted()["scored"] > 0


def test_a_service_that_is_never_idle_is_compared(running: Shadowed) -> None:
    """While a request is in flight, one in `ONE_IN` served videos is scored; what does not fit is dropped."""
    before = running.counted()
    served = 0

    def is_compared() -> bool:
        nonlocal served
        served += 1
        assert running.post("/predict", {"title": f"busy {served}"}).status_code == 200
        return running.counted()["busy"] - before["busy"] >= 2

    with waiting_request(running.service, KEY):
        until(is_compared)
        assert served > ONE_IN
        during = running.counted()
        assert during["scored"] + during["dropped"] - before["scored"] - before["dropped"] >= (
            served - CAPACITY - 1
        )
        assert during["dropped"] > before["dropped"]
    until(lambda: running.counted()["scored"] > during["scored"])


def test_a_shadow_that_cannot_be_loaded_leaves_the_service(
    bundles: tuple[Path, Path], tmp_path: Path
) -> None:
    """The reason is logged, and scores are served."""
    with shadowed(tmp_path, bundles[0], tmp_path / "none") as found:
        until(lambda: found.logged("shadow_refused"))
        assert str(tmp_path / "none") in str(found.logged("shadow_refused")[0]["detail"])
        assert "shadow" not in found.post("/predict?shadow=1", VIDEOS[0]).json()
        assert found.counted()["ready"] == 0


def test_the_winner_serves_the_scores_that_it_had_as_a_shadow(
    running: Shadowed, bundles: tuple[Path, Path]
) -> None:
    """Both routes add the shadow's scores if asked. Reloaded in place of the served model, it serves the
    same scores, and no shadow repeats them.
    """
    batch = running.post("/predict/batch?shadow=1", {"videos": VIDEOS}).json()["predictions"]
    single = [running.post("/predict?shadow=1", video).json() for video in VIDEOS]
    assert all(answer["model_version"] != answer["shadow"]["model_version"] for answer in batch + single)
    new = running.served.with_name("new")
    new.symlink_to(bundles[1])
    new.replace(running.served)
    reloaded = running.post("/admin/reload", None).json()
    until(lambda: running.logged("shadow_is_serving"))
    served = [running.post("/predict?shadow=1", video).json() for video in VIDEOS]
    assert {answer["model_version"] for answer in served} == {reloaded["model_version"]}
    names = ("model_version", "viral_score", "predicted_velocity", "velocity_interval")
    expected = [{name: answer[name] for name in names} for answer in served]
    assert [answer["shadow"] for answer in batch] == [answer["shadow"] for answer in single] == expected
    assert not any("shadow" in answer for answer in served)
