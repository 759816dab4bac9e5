"""The service on Ray Serve: it answers as the single process does, says when it is full, survives faults."""

import base64
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.scale.figures import Figure, answers_of, scored
from tests.scale.ray_here import needs_ray, ray_environment
from tests.support.process import completed
from tests.support.service import ROOT
from tests.support.thumbnail_host import picture

LIMIT_S = 560
QUESTIONS: list[dict[str, Any]] = [
    {
        "title": f"I tried {views} viral pasta hacks!",
        "view_count": views,
        "like_count": views // 20,
        "published_at": "2018-01-02T00:00:00Z",
        "observed_at": "2018-01-05T00:00:00Z",
        "thumbnail_url": f"data:image/jpeg;base64,{base64.b64encode(picture(seed)).decode()}",
    }
    for seed, views in enumerate((10, 1000, 100_000))
]

pytestmark = [needs_ray, pytest.mark.scale]


def run(module: str, *arguments: str | Path) -> dict[str, Any]:
    with ray_environment() as variables:
        ran = completed([sys.executable, "-m", f"tests.scale.{module}", *map(str, arguments)], env=variables)
    assert ran.returncode == 0, ran.stderr
    seen: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return seen


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("questions") / "questions.json"
    path.write_text(json.dumps(QUESTIONS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def damaged(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("damaged") / "bundle"
    shutil.copytree(model, path)
    with (path / "text.bin").open("r+b") as opened:
        opened.truncate((path / "text.bin").stat().st_size - 100)
    return path


@pytest.fixture(scope="module")
def seen(model: Path, damaged: Path, questions: Path) -> dict[str, Any]:
    """The observations of tests/scale/one_machine.py, which starts Ray once for all of them."""
    return run("one_machine", model, damaged, questions)


@pytest.fixture(scope="module")
def alone(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return answers_of(model, QUESTIONS, tmp_path_factory.mktemp("alone") / "log")


def test_a_replica_answers_as_the_single_process(seen: dict[str, Any], alone: list[dict[str, Any]]) -> None:
    """To the last digit, pictures included; and it is ready, as `/health/ready` says through Ray's proxy."""
    assert alone[0]["modalities"]["image"]["state"] == "used"
    assert len({answer["viral_score"] for answer in alone}) == len(QUESTIONS)
    assert seen["answers"] == alone
    assert seen["ready"] == 200


def test_a_full_replica_says_when_to_come_back(seen: dict[str, Any]) -> None:
    """MILES_MAX_QUEUE_SIZE and its 503 with Retry-After hold behind Ray's proxy; queued requests get 200."""
    full = seen["full_replica"]
    assert full == {"status": 503, "ours": True, "retry_after": "1", "held": [200] * len(full["held"])}
    assert full["held"]


def test_ray_s_own_queue_is_bounded(seen: dict[str, Any]) -> None:
    """Beyond max_queued_requests Ray answers 503 with Retry-After; a request that waits is answered."""
    full = seen["full_proxy"]
    assert {tuple(sorted(each.items())) for each in full["refused"]} == {
        (("ours", False), ("retry_after", "2"), ("status", 503))
    }
    assert (full["answered"], full["held"]) == (1, [200])


def test_a_replica_without_a_model_gets_no_request(seen: dict[str, Any], damaged: Path) -> None:
    """The deployment fails, its status has the service's own line, and no request is answered."""
    broken = seen["broken"]
    assert broken["status"] == "DEPLOY_FAILED"
    assert f"{damaged / 'text.bin'}: sha256 is" in broken["message"]
    assert broken["answered"] == ["no answer"]


def test_a_replica_whose_model_hangs_is_replaced(seen: dict[str, Any]) -> None:
    """It fails our health check: after the hang nothing is scored until a new replica takes its place."""
    assert seen["hung"] == [200, 503, 503]  # before, the cue, after; the observation ends with a 200


def test_only_replicas_listen_beyond_the_loopback_interface(seen: dict[str, Any]) -> None:
    """Ray gives each of them a port on all interfaces, which refuses callers without Ray's token."""
    assert {name.split(":")[2] for name in seen["open_ports"]} == {"ServeReplica"}
    assert set(seen["without_token"]) == {"UNAUTHENTICATED"}


def test_a_damaged_cluster_loses_no_request(
    model: Path, questions: Path, alone: list[dict[str, Any]], figure: Figure
) -> None:
    """A replica is killed, then a node with its proxy: one retry gets each score, the single process's."""
    seen = run("cluster", model, questions)
    figure("Serve: two replicas ready after, s", seen["ready_s"])
    for hurt in ("replica", "node"):
        figure(f"{hurt} killed: requests answered", sum(seen[hurt]["answered"].values()))
        figure(f"{hurt} killed: asked a second time", seen[hurt]["retried"])
        figure(f"{hurt} killed: lost", len(seen[hurt]["lost"]))
        figure(f"{hurt} killed: full capacity again after, s", seen[hurt]["full_capacity_s"])
    assert seen["answers"] == alone
    assert seen["health"] == 200
    assert seen["node"]["proxy"] == "gone"
    for hurt in ("replica", "node"):
        assert seen[hurt]["lost"] == []
        assert seen[hurt]["retried"] > 0, "no request was hit"
        assert seen[hurt]["answered"]["single"] > 0


def test_serve_run_serves_this_machine_alone(
    model: Path, alone: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The guide's command: ready at 127.0.0.1:8000 and nowhere else, the same answers, ended by Ctrl-C."""
    url, log = "http://127.0.0.1:8000", tmp_path / "log"
    if listening(8000):
        pytest.skip("port 8000, which `serve run` takes, is in use")
    with ray_environment(checkpoint=model, max_batch_size=1) as variables, log.open("wb") as output:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "serve", "run", "deploy.ray_serve:app"],
            cwd=ROOT,
            env=variables | {"RAY_ADDRESS": "local"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + LIMIT_S / 4
            while "is ready at" not in log.read_text(encoding="utf-8"):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()  # noqa: PT018
                time.sleep(0.25)
            answers = [scored(httpx.post(f"{url}/predict", json=question)) for question in QUESTIONS]
            addresses = listening(8000)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(LIMIT_S / 4)
    assert answers == alone
    assert addresses == {"127.0.0.1"}
    assert process.returncode == 0
    assert not listening(8000)


def listening(port: int) -> set[str]:
    found = psutil.net_connections("tcp")
    return {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN and each.laddr.port == port}
