"""Faults of the engine and the end of the process: what waiting requests get."""

import asyncio
import contextlib
import gc
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from serving.lifecycle.predictor import Predictor
from serving.lifecycle.supervision import FAILURES_PER_PROBE
from serving.scoring.admission import Admission
from serving.settings import Settings
from tests.support.faulty_service import BREAK, EXIT, HANG, NOT_A_NUMBER, RAISE, cue
from tests.support.process import LIMIT_S, PLAIN, until
from tests.support.service import Service, ready_service, started_service, wait_for


def post(service: Service, title: str, key: str = "", **fields: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"title": title, **fields}
    return httpx.post(f"{service.url}/predict", json=body, headers=headers, timeout=LIMIT_S, verify=PLAIN)


@contextlib.contextmanager
def waiting_request(service: Service, key: str = "") -> Iterator[tuple[socket.socket, list[httpx.Response]]]:
    """A request that waits for a thumbnail until the connection is closed; its answer."""
    answers: list[httpx.Response] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/never.jpg"

        def ask() -> None:
            with contextlib.suppress(httpx.TransportError):
                answers.append(post(service, "x", key, thumbnail_url=url))

        thread = threading.Thread(target=ask)
        thread.start()
        connection, _ = listener.accept()
    with connection:
        yield connection, answers
    thread.join()


def is_reachable(service: Service) -> bool:
    try:
        httpx.get(f"{service.url}/health/live", verify=PLAIN)
    except httpx.TransportError:
        return False
    return True


def test_engine_faults_are_503_and_a_hang_ends_the_process(tiny_path: Path, tmp_path: Path) -> None:
    """NaN, an exception and a step that exits fail one request; a hang also ends the process."""
    faulty = ["-m", "tests.support.faulty_service"]
    with started_service(
        tmp_path / "log", faulty, checkpoint=tiny_path, precision="f32", forward_timeout_s=5
    ) as service:
        wait_for(service, "/health/ready")
        for fault in (NOT_A_NUMBER, RAISE, EXIT):
            refused = post(service, cue(fault))
            assert refused.status_code == 503
            assert "nan" not in refused.text.lower()
            assert post(service, f"after {fault}").status_code == 200
        videos = [{"title": "before"}, {"title": cue(NOT_A_NUMBER)}, {"title": "behind"}]
        batch = httpx.post(f"{service.url}/predict/batch", json={"videos": videos}, timeout=LIMIT_S)
        entries = batch.json()["predictions"]
        assert [entry.get("error", {}).get("status") for entry in entries] == [None, 503, None]
        assert post(service, cue(HANG)).status_code == 503
        assert service.process.wait(LIMIT_S) == 1
    assert "a forward of the text step did not finish within 5 s" in service.log.read_text().splitlines()[-1]


def test_late_score_is_504_and_counted(tiny_path: Path, tmp_path: Path) -> None:
    """At the deadline a video without a score is a problem, its place is free, and it is counted."""
    faulty = ["-m", "tests.support.faulty_service"]
    limits = {"request_timeout_s": 3, "forward_timeout_s": 600}
    with started_service(
        tmp_path / "log", faulty, checkpoint=tiny_path, precision="f32", **limits
    ) as service:
        wait_for(service, "/health/ready")
        late = post(service, cue(HANG))
        assert (late.status_code, late.headers["content-type"]) == (504, "application/problem+json")
        counts = httpx.get(f"{service.url}/metrics").text.splitlines()
        assert {"miles_deadline_missed_total 1.0", "miles_queue_videos 0.0"} <= set(counts)
        service.process.kill()  # its engine hangs: SIGTERM would wait for it until the last resort


def test_model_that_fails_on_everything_ends_the_process(tiny_path: Path, tmp_path: Path) -> None:
    """Any number of failing requests is tolerated while a probe succeeds; a broken engine is not."""
    faulty = ["-m", "tests.support.faulty_service"]
    with started_service(tmp_path / "log", faulty, checkpoint=tiny_path, precision="f32") as service:
        wait_for(service, "/health/ready")
        for _ in range(2 * FAILURES_PER_PROBE):
            assert post(service, cue(RAISE)).status_code == 503
        assert post(service, "after them").status_code == 200
        for number in range(FAILURES_PER_PROBE):
            assert post(service, f"behind {number}" if number else cue(BREAK)).status_code == 503
        assert service.process.wait(LIMIT_S) == 1
    assert "the model fails on every input: MemoryError" in service.log.read_text().splitlines()[-1]


def test_sigterm_lets_a_request_finish(tiny_path: Path, tmp_path: Path) -> None:
    """After SIGTERM new connections are refused, requests in flight finish, and the process exits with 0."""
    with (
        ready_service(
            tmp_path / "log",
            checkpoint=tiny_path,
            precision="f32",
            thumbnail_trusted_networks="127.0.0.0/8",
            thumbnail_timeout_s=60,
            request_timeout_s=600,
        ) as service,
        waiting_request(service) as (thumbnail, answers),
    ):
        service.process.send_signal(signal.SIGTERM)
        until(lambda: not is_reachable(service))
        thumbnail.close()
        assert service.process.wait(LIMIT_S) == 0
    assert [answer.status_code for answer in answers] == [200]


def test_second_sigterm_ends_at_once(tiny_path: Path, tmp_path: Path) -> None:
    """A second SIGTERM does not wait for requests in flight, and the exit code is 143."""
    with (
        ready_service(
            tmp_path / "log",
            checkpoint=tiny_path,
            precision="f32",
            thumbnail_trusted_networks="127.0.0.0/8",
            thumbnail_timeout_s=60,
            request_timeout_s=600,
        ) as service,
        waiting_request(service) as (_, answers),
    ):
        service.process.send_signal(signal.SIGTERM)
        until(lambda: b"Shutting down" in service.log.read_bytes())
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(LIMIT_S) == 128 + signal.SIGTERM
    assert answers == []


def test_sigterm_while_the_model_loads_is_an_orderly_end(tiny_path: Path, tmp_path: Path) -> None:
    """A process that is stopped before it is ready does not finish loading first."""
    fresh = tmp_path / "fresh.pt"
    fresh.write_bytes(tiny_path.read_bytes())  # without its bundle: it has to be compiled
    with started_service(tmp_path / "log", checkpoint=fresh, precision="f32") as service:
        wait_for(service, "/health/live")
        assert httpx.get(f"{service.url}/health/ready").status_code == 503
        assert service.stop() == 0
    assert "model_loaded" not in service.log.read_text()


@pytest.mark.anyio
async def test_garbage_collection_skips_the_model(tiny_bundle: Path) -> None:
    """Once the model serves, its objects are frozen, so a full collection does not hold up the event loop."""
    settings = Settings(checkpoint=str(tiny_bundle))
    try:
        async with Predictor.open(settings, Admission(1, CollectorRegistry())) as predictor:
            await asyncio.to_thread(until, lambda: predictor.status != "loading")
            assert predictor.status == "healthy"
            assert len(gc.get_objects()) < gc.get_freeze_count() / 10
    finally:
        gc.unfreeze()
