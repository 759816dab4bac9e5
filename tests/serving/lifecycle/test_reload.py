"""Switching to another checkpoint without a pause, on a real process with requests in flight."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from model.checkpoint.file import CheckpointError
from model.checkpoint.store import write_checkpoint
from serving.lifecycle.loading import load_model
from serving.settings import Settings
from tests.serving.lifecycle.test_lifecycle import waiting_request
from tests.support.process import LIMIT_S, MAX_WAIT_S, until
from tests.support.service import ROOT, Service, environment, free_port, ready_service, wait_for
from tests.support.thumbnail_host import ThumbnailHost
from tests.support.tiny import tiny_checkpoint

KEY = "a-key-for-the-reload-test"
EAGER = 0.95  # the eager checkpoint scores everything above this, the tiny one nothing
RELOADS = 3
KILOBYTE = 1024
GIGABYTE = KILOBYTE**3


@dataclass
class Switchable:
    """A service, and the checkpoints that can be put at its path."""

    service: Service
    path: Path
    files: dict[str, Path]
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        self.client = httpx.Client(base_url=self.service.url, headers=headers, timeout=MAX_WAIT_S)

    def put(self, name: str) -> None:
        """Put a checkpoint in place in one step, as the guide says."""
        new = self.path.with_suffix(".new")
        shutil.copyfile(self.files[name], new)
        new.replace(self.path)

    def reload(self, name: str) -> httpx.Response:
        """Put a checkpoint in place and reload it."""
        self.put(name)
        return self.client.post("/admin/reload")

    def score(self, title: str, **fields: object) -> dict[str, Any]:
        """One answer."""
        answer = self.client.post("/predict", json={"title": title, **fields})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log with this event."""
        lines = [line for line in self.service.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    @contextmanager
    def logging(self, event: str) -> Iterator[None]:
        """The body does something that logs this event; the context ends once it is logged."""
        times = len(self.logged(event))
        yield
        until(lambda: len(self.logged(event)) > times, process=self.service.process)


def write_eager(path: Path, bias: float = 4.0) -> Path:
    """The tiny checkpoint with a head that finds everything viral; its towers are the same."""
    checkpoint = tiny_checkpoint()
    state = checkpoint.state_dict
    state["classifier.bias"] = state["classifier.bias"].new_tensor([-bias, bias])
    write_checkpoint(path, replace(checkpoint, state_dict=state))
    return path


@pytest.fixture(scope="module")
def files(tiny_path: Path, service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints by name: the tiny one, which `service` has compiled, an eager one and two bad ones."""
    directory = tmp_path_factory.mktemp("checkpoints")
    cut = directory / "cut.pt"
    cut.write_bytes(tiny_path.read_bytes()[:100_000])
    empty = directory / "empty.pt"
    empty.touch()
    assert service.process.poll() is None, "it has compiled the tiny checkpoint"
    return {"tiny": tiny_path, "eager": write_eager(directory / "eager.pt"), "cut": cut, "empty": empty}


@pytest.fixture(scope="module")
def switchable(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Switchable]:
    """A service on the tiny checkpoint that can switch to another."""
    with switchable_service(files, tmp_path_factory.mktemp("models")) as running:
        yield running


@contextmanager
def switchable_service(files: dict[str, Path], home: Path) -> Iterator[Switchable]:
    """A ready service on a copy of the tiny checkpoint and its bundle in `home`."""
    path = home / "current.pt"
    shutil.copyfile(files["tiny"], path)
    shutil.copytree(files["tiny"].parent / "compiled", home / "compiled")
    with ready_service(
        home / "service.log",
        checkpoint=path,
        precision="f32",
        threads=1,
        api_keys=KEY,
        thumbnail_trusted_networks="127.0.0.0/8",
        thumbnail_timeout_s=60,
        request_timeout_s=600,
    ) as running:
        switchable = Switchable(running, path, files)
        yield switchable
        switchable.client.close()


class Crowd:
    """Clients that send one request after another until the context ends, and what they saw."""

    def __init__(self, service: Switchable, host: ThumbnailHost) -> None:
        self.service, self.host = service, host
        self.sent = 0
        self.answers: list[tuple[int, dict[str, Any]]] = []
        """When each was sent, as the number of requests sent by then, and the answer."""
        self.failures: list[str] = []
        self.readiness: set[int] = set()
        self._stop = threading.Event()
        works = (self._score_one, self._score_many, self._check_readiness)
        self._threads = [threading.Thread(target=self._repeat, args=(work,)) for work in works]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def until_scored_after(self, sent: int) -> None:
        """Return when a request that was sent after the first `sent` has its answer."""
        until(lambda: any(number > sent for number, _ in self.answers), process=self.service.service.process)

    def _repeat(self, work: Callable[[int], None]) -> None:
        while not self._stop.wait(0.5):  # leaves the machine some time to load the model
            self.sent += 1
            work(self.sent)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self.service.client.post(path, json=body)
        if answer.status_code != 200:
            self.failures.append(answer.text)
            return {}
        values: dict[str, Any] = answer.json()
        return values

    def _score_one(self, sent: int) -> None:
        body = {"title": f"new words {sent}", "thumbnail_url": self.host.thumbnail(sent % 7)}
        if answer := self._post("/predict", body):
            self.answers.append((sent, answer))

    def _score_many(self, sent: int) -> None:
        videos = [{"title": f"batch {sent} of {item}"} for item in range(12)]
        entries = self._post("/predict/batch", {"videos": videos}).get("predictions", [])
        self.answers += [(sent, entry) for entry in entries]
        if len({entry["model_version"] for entry in entries}) > 1:
            self.failures.append(f"a batch of two models: {entries}")

    def _check_readiness(self, _: int) -> None:
        self.readiness.add(self.service.client.get("/health/ready").status_code)


def test_switch_under_load(switchable: Switchable, host: ThumbnailHost) -> None:
    """While another checkpoint is compiled and loaded no request fails, and each score is that of the model
    whose version it names; a request that started on the old model finishes on it.
    """
    old = switchable.score("before")["model_version"]
    with Crowd(switchable, host) as crowd:
        compiled = switchable.reload("eager")
        switched = crowd.sent
        crowd.until_scored_after(switched)
        with waiting_request(switchable.service, KEY) as (thumbnail, held):
            back = switchable.reload("tiny")
            switched_back = crowd.sent
            crowd.until_scored_after(switched_back)
            with switchable.logging("model_freed"):
                assert [entry["model_version"] for entry in switchable.logged("model_freed")] == [old]
                thumbnail.close()
    body, new = compiled.json(), compiled.json()["model_version"]
    assert (compiled.status_code, body["previous_version"], body["checkpoint"]) == (200, old, "current.pt")
    assert new == f"miles-v1.0+{body['sha256'][:8]}" != old
    assert (back.status_code, back.json()["model_version"], back.json()["previous_version"]) == (
        200,
        old,
        new,
    )
    assert (crowd.failures, crowd.readiness) == ([], {200})
    assert all((each["model_version"] == new) == (each["viral_score"] > EAGER) for _, each in crowd.answers)
    assert {each["model_version"] for _, each in crowd.answers} == {old, new}
    assert {each["model_version"] for sent, each in crowd.answers if sent > switched_back} == {old}
    assert [answer.json()["model_version"] for answer in held] == [new]


def test_everything_follows_the_switch(switchable: Switchable) -> None:
    """Health, model info and metrics name the checkpoint in service, and the reload is counted."""
    body = switchable.reload("eager").json()
    info, home = switchable.client.get("/model/info").json(), switchable.client.get("/").json()
    metrics = switchable.client.get("/metrics").text
    assert info["checkpoint"]["sha256"] == body["sha256"]
    assert info["model_version"] == home["model_version"] == body["model_version"]
    assert f'sha256="{body["sha256"][:16]}"' in metrics
    assert f'version="{body["model_version"]}"' in metrics
    assert 'miles_reloads_total{outcome="switched"}' in metrics
    assert 'miles_reloads_total{outcome="switched"} 0.0' not in metrics


def test_bad_file_leaves_the_old_model_in_service(switchable: Switchable) -> None:
    """An unusable checkpoint is a problem with one line of detail; after SIGHUP the log has that line."""
    before = switchable.score("before")["model_version"]
    with switchable.logging("reload_refused"):
        refused = switchable.reload("cut")
    problem = refused.json()
    assert refused.status_code == 422
    assert problem["type"] == "urn:miles:problem:checkpoint-refused"
    assert problem["detail"].startswith(str(switchable.path))
    assert len(problem["detail"].splitlines()) == 1
    assert switchable.logged("reload_refused")[-1]["detail"] == problem["detail"]
    switchable.put("empty")
    with switchable.logging("reload_refused"):
        switchable.service.process.send_signal(signal.SIGHUP)
    assert "is empty (0 bytes)" in switchable.logged("reload_refused")[-1]["detail"]
    assert switchable.client.get("/health/ready").status_code == 200
    assert switchable.score("after")["model_version"] == before
    times = len(switchable.logged("reload_refused"))
    assert f'outcome="refused"}} {times:.1f}' in switchable.client.get("/metrics").text


def test_a_model_that_does_not_fit_into_memory_is_refused(switchable: Switchable) -> None:
    """A reload that would take more memory than is free is a 500 with both sizes; the old model stays."""
    before = switchable.reload("tiny").json()["model_version"]
    (bundle,) = (
        path.parent
        for path in (switchable.path.parent / "compiled").glob("*/bundle.json")
        if path.parent.name.startswith(before.rpartition("+")[2])
    )
    huge = bundle / "huge.bin"
    try:
        with huge.open("wb") as file:
            file.truncate(8 * 1024 * GIGABYTE)  # sparse: it takes no space
        with switchable.logging("reload_failed"):
            refused = switchable.reload("tiny")
    finally:
        huge.unlink()
    assert refused.status_code == 500
    assert re.search(r"needs about 1\d{7} MB .*; \d+ MB are free", refused.json()["detail"])
    assert switchable.logged("reload_failed")[-1]["detail"] == refused.json()["detail"]
    assert switchable.score("after")["model_version"] == before


def test_sighup_switches(switchable: Switchable) -> None:
    """A signal does what the route does, and the log names the model in service."""
    switchable.reload("tiny")
    switchable.put("eager")
    with switchable.logging("model_switched"):
        switchable.service.process.send_signal(signal.SIGHUP)
    answer = switchable.score("after the signal")
    assert answer["viral_score"] > EAGER
    assert answer["model_version"] == switchable.logged("model_switched")[-1]["model_version"]


def test_nothing_of_a_replaced_model_is_left(switchable: Switchable, host: ThumbnailHost) -> None:
    """After several reloads the process has the same number of threads and decoders, no vector of another
    model, and has not grown by half a model.
    """

    def turn(name: str) -> tuple[int, int, int]:
        with switchable.logging("model_freed"):
            assert switchable.reload(name).status_code == 200
        for number in range(3):
            switchable.score(f"words {number} for {name}", thumbnail_url=host.thumbnail(number))
        metrics = switchable.client.get("/metrics").text
        vectors = int(float(metrics.partition("\nmiles_cache_entries ")[2].split()[0]))
        status = Path(f"/proc/{switchable.service.process.pid}/status").read_text()
        threads = int(status.partition("Threads:")[2].split()[0])
        children = subprocess.run(
            ["pgrep", "-P", str(switchable.service.process.pid)], capture_output=True, check=True
        ).stdout.split()
        return vectors, threads, len(children)

    names = ["tiny", "eager"]
    for name in names:
        settled = turn(name)
    before = resident_bytes(switchable.service)
    seen = [turn(names[number % 2]) for number in range(RELOADS)]
    assert {vectors for vectors, _, _ in seen} == {6}  # three texts, three pictures
    assert seen == [settled] * RELOADS
    grown = resident_bytes(switchable.service) - before
    model = sum(
        file.stat().st_size for file in next((switchable.path.parent / "compiled").iterdir()).glob("*.bin")
    )
    assert grown < model / 2


def resident_bytes(service: Service) -> int:
    """The process's resident memory."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * KILOBYTE


def test_second_reload_is_409_and_sigterm_cancels_the_first(files: dict[str, Path], tmp_path: Path) -> None:
    """While a model is being loaded another reload is refused; SIGTERM ends the load at once, lets a request
    finish, leaves no partial bundle behind, and the process ends with 0.
    """
    with switchable_service(files, tmp_path) as running:
        first: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: first.append(running.reload("eager")))
        with waiting_request(running.service, KEY) as (thumbnail, held):
            with running.logging("compiling"):
                asking.start()
            second = running.client.post("/admin/reload")
            with running.logging("reload_busy"):
                running.service.process.send_signal(signal.SIGHUP)
            running.service.process.send_signal(signal.SIGTERM)
            asking.join()
            thumbnail.close()
            assert running.service.process.wait(LIMIT_S) == 0
    assert second.status_code == 409
    assert second.json()["title"] == "Conflict"
    assert [answer.status_code for answer in first] == [503]
    assert [answer.status_code for answer in held] == [200]
    assert [path.name for path in (tmp_path / "compiled").iterdir() if path.name.endswith(".partial")] == []


def test_reload_needs_a_key(switchable: Switchable, client: httpx.Client) -> None:
    """Without a key it is a 401; on a service that has no keys it is a 403."""
    bare = httpx.post(f"{switchable.service.url}/admin/reload")
    keyless = client.post("/admin/reload")
    assert (bare.status_code, keyless.status_code) == (401, 403)
    assert "MILES_API_KEYS" in keyless.json()["detail"]


def test_named_sha256_holds_for_a_bundle_too(files: dict[str, Path]) -> None:
    """With MILES_CHECKPOINT_SHA256 no other checkpoint is accepted, compiled or not."""
    bundle = next((files["tiny"].parent / "compiled").iterdir())
    for path in (files["eager"], bundle):
        with pytest.raises(CheckpointError, match="MILES_CHECKPOINT_SHA256"):
            load_model(Settings(checkpoint=str(path), checkpoint_sha256="0" * 64))


def test_terminal_that_is_closed_ends_the_service(files: dict[str, Path], tmp_path: Path) -> None:
    """SIGHUP from a terminal that is gone is not a request to reload: the process ends as usual."""
    ours, theirs = os.openpty()
    port, log = free_port(), tmp_path / "log"
    bundle = next((files["tiny"].parent / "compiled").iterdir())
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", LOGGED_IN, str(theirs)],
            cwd=ROOT,
            env=environment(checkpoint=bundle, host="127.0.0.1", port=port),
            stdin=theirs,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
            start_new_session=True,
        )
    os.close(theirs)
    wait_for(Service(f"http://127.0.0.1:{port}", process, log), "/health/ready")
    os.close(ours)
    try:
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
    assert "reload_started" not in log.read_text()


LOGGED_IN = """
import fcntl, runpy, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
sys.argv = ["app.py"]
sys.path.insert(0, ".")
runpy.run_path("app.py", run_name="__main__")
"""
