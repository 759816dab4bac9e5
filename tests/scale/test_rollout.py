"""`serve deploy deploy/ray/serve.yaml`: another checkpoint under load, and replicas that follow the load."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.scale.dataset import write_csv
from tests.scale.figures import Figure, answers_of, scored
from tests.scale.load import Answer, Load
from tests.scale.ray_here import needs_ray
from tests.scale.ray_nodes import RayNodes, started_nodes
from tests.support.process import completed
from tests.support.service import ROOT, free_port
from tests.support.tiny_bundle import write_tiny_bundle

CALM_S = 3.0
LIMIT_S = 120
QUESTIONS: list[dict[str, Any]] = [
    {"title": title, "view_count": 1000} for title in ("How do planes stay up?", "GOAL OF THE YEAR")
]
PORT = free_port()
URL = f"http://127.0.0.1:{PORT}"

pytestmark = [needs_ray, pytest.mark.scale]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    """One cluster for the tests, in order: each starts from what the previous one deployed."""
    with started_nodes(tmp_path_factory.mktemp("ray") / "log") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def models(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two that differ, and one with bytes missing."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "new").mkdir()
    shutil.copytree(model, folder / "damaged")
    os.truncate(folder / "damaged" / "text.bin", 1000)
    return {"old": model, "new": write_tiny_bundle(folder / "new", seed=8), "damaged": folder / "damaged"}


@pytest.fixture(scope="module")
def answers(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Answer]]:
    """The single process's answers with each of the two that load."""
    log = tmp_path_factory.mktemp("single") / "log"
    return {name: answers_of(models[name], QUESTIONS, log) for name in ("old", "new")}


def config(folder: Path, checkpoint: Path, **autoscaling: float) -> Path:
    """deploy/ray/serve.yaml with this checkpoint, a free port and these numbers."""
    written = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    written["http_options"]["port"] = PORT
    (deployment,) = written["applications"][0]["deployments"]
    deployment["autoscaling_config"] |= autoscaling
    named = os.path.relpath(checkpoint, ROOT)  # from where `ray start` was run, as in the file
    deployment["ray_actor_options"]["runtime_env"]["env_vars"]["MILES_CHECKPOINT"] = named
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    return path


def asked(answers: dict[str, list[Answer]]) -> set[str]:
    said = [scored(httpx.post(f"{URL}/predict", json=QUESTIONS[0])) for _ in range(20)]
    return {name for each in said for name, known in answers.items() if each == known[0]}


def test_another_checkpoint_takes_over_under_load(
    nodes: RayNodes, models: dict[str, Path], answers: dict[str, list[Answer]], tmp_path: Path, figure: Figure
) -> None:
    """Each answer is the old or the new model's, none is lost, and there are never fewer replicas."""
    assert answers["old"] != answers["new"]
    first_s, _ = nodes.deploy(config(tmp_path, models["old"]), "RUNNING")
    assert asked(answers) == {"old"}
    load = Load([URL], QUESTIONS, answers)
    with load.running():
        time.sleep(CALM_S)
        took_s, fewest = nodes.deploy(config(tmp_path, models["new"]), "RUNNING")
        time.sleep(CALM_S)
    figure("serve deploy: two replicas ready after, s", round(first_s, 1))
    figure("new checkpoint: deployed under load in, s", round(took_s, 1))
    for name in ("old", "new"):
        figure(f"new checkpoint: answers of the {name} one", load.answered[name])
    figure("new checkpoint: asked a second time", load.retried)
    figure("new checkpoint: lost", len(load.lost))
    assert load.lost == []
    assert load.answered.keys() == {"old", "new"}
    assert fewest == 2
    assert asked(answers) == {"new"}


def test_a_checkpoint_that_does_not_load_leaves_the_others(
    nodes: RayNodes, models: dict[str, Path], answers: dict[str, list[Answer]], tmp_path: Path, figure: Figure
) -> None:
    """The old model's replicas stay, nothing is lost, and `serve status` says why the new one failed."""
    load = Load([URL], QUESTIONS, answers)
    with load.running():
        took_s, fewest = nodes.deploy(config(tmp_path, models["damaged"]), "DEPLOY_FAILED")
        time.sleep(CALM_S)
    figure("damaged checkpoint: given up after, s", round(took_s, 1))
    figure("damaged checkpoint: requests answered", load.answered.total())
    figure("damaged checkpoint: lost", len(load.lost))
    assert load.lost == []
    assert load.answered.keys() == {"new"}
    assert fewest == nodes.replicas() == 2
    assert "text.bin: sha256 is" in nodes.serve("status")


def test_replicas_follow_the_requests_in_flight(
    nodes: RayNodes, models: dict[str, Path], answers: dict[str, list[Answer]], tmp_path: Path, figure: Figure
) -> None:
    """Load adds replicas, calm removes them again, and neither loses a request."""
    fast = {"metrics_interval_s": 0.5, "look_back_period_s": 2, "upscale_delay_s": 1, "downscale_delay_s": 4}
    numbers = fast | {"min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 2}
    nodes.deploy(config(tmp_path, models["new"], **numbers), "RUNNING")
    nodes.until(lambda: nodes.replicas() == 1)
    many = Load([URL], QUESTIONS, answers, clients=6, pause_s=0)
    began = time.monotonic()
    with many.running():
        nodes.until(lambda: nodes.replicas() == 3)
        up_s = time.monotonic() - began
    few = Load([URL], QUESTIONS, answers, clients=1, pause_s=0.2)
    began = time.monotonic()
    with few.running():
        nodes.until(lambda: nodes.replicas() == 1)
        down_s = time.monotonic() - began
        time.sleep(CALM_S)
    figure("load: three replicas instead of one after, s", round(up_s, 1))
    figure("calm: one replica again after, s", round(down_s, 1))
    figure("load and calm: requests answered", many.answered.total() + few.answered.total())
    figure("load and calm: asked a second time", many.retried + few.retried)
    figure("load and calm: lost", len(many.lost + few.lost))
    assert many.lost + few.lost == []
    assert many.answered.keys() == few.answered.keys() == {"new"}


def test_a_dataset_is_scored_beside_it(
    nodes: RayNodes, models: dict[str, Path], answers: dict[str, list[Answer]], tmp_path: Path
) -> None:
    """On its own Ray, although by default Ray would join the one already started on the machine."""
    rows = 40
    options = ("--map", "title=Headline", "--threads", "1", "--workers", "1")
    ran = completed(
        [
            *(sys.executable, "-m", "deploy.score_dataset"),
            *(write_csv(tmp_path / "in.csv", rows), tmp_path / "out", *options),
        ],
        env=nodes.variables | {"MILES_CHECKPOINT": str(models["old"])},
    )
    assert ran.stdout, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1])["rows"] == rows + 1  # one is cut off
    assert asked(answers) == {"new"}
