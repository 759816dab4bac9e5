"""The service on Ray Serve with separate towers: the same answers, none of two models, and none lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.ray.tower_engine import TowerLostError
from model.checkpoint.file import check_file
from model.compiled.files import bundle_directory
from serving.errors import EngineFailedError
from serving.scoring.batching import QueueClosedError
from tests.scale.figures import Figure, answers_of
from tests.scale.ray_here import needs_ray
from tests.scale.test_ray_serve import QUESTIONS, run
from tests.support.service import ROOT
from tests.support.tiny_bundle import write_tiny_bundle

pytestmark = needs_ray


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray's own models
def test_the_guide_names_the_three_deployments() -> None:
    """With the names for a cluster's file, and the cores that one replica of each needs."""
    from deploy.ray_serve import image_tower, ingress, text_tower

    guide = (ROOT / "docs" / "ray.md").read_text(encoding="utf-8")
    three = (ingress, text_tower, image_tower)
    assert all(f"`{deployment.name}`" in guide for deployment in three)
    assert sum(deployment.ray_actor_options["num_cpus"] for deployment in three) == 5
    assert "five cores" in guide


class Ending:
    """A handle whose tower answers a caller with this, as Ray delivers it."""

    def __init__(self, said: Exception) -> None:
        self._said = said

    def remote(self, *_: object) -> "Ending":
        return self

    def result(self, timeout_s: float) -> None:  # noqa: ARG002  Ray's name
        from ray.exceptions import RayTaskError

        raise RayTaskError("encode", "Traceback", self._said).as_instanceof_cause()


def test_a_call_to_a_tower_that_is_ending_counts_as_lost() -> None:
    """Its reply is not an answer, so the call is made elsewhere."""
    from deploy.ray.towers import _call

    for said in (QueueClosedError("stopping"), EngineFailedError("stopped responding")):
        with pytest.raises(TowerLostError):
            _call(Ending(said), "fingerprint", [], 1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("second"), seed=8)


@pytest.fixture(scope="module")
def answers(model: Path, second: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    log = tmp_path_factory.mktemp("single") / "log"
    return {"first": answers_of(model, QUESTIONS, log), "second": answers_of(second, QUESTIONS, log)}


@pytest.fixture(scope="module")
def seen(
    model: Path, second: Path, answers: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The observations of tests/scale/tower_cluster.py, which starts Ray once for all of them."""
    path = tmp_path_factory.mktemp("asked") / "asked.json"
    path.write_text(json.dumps({"questions": QUESTIONS, "answers": answers}), encoding="utf-8")
    return run("tower_cluster", model, second, path)


@pytest.mark.scale
def test_separate_towers_answer_as_the_single_process(seen: dict[str, Any], answers: dict[str, Any]) -> None:
    """To the last digit, pictures included, with the first model and with its successor."""
    assert answers["first"] != answers["second"]
    assert seen["first"] == answers["first"]
    assert seen["second"] == answers["second"]
    assert seen["ready"] == 200


@pytest.mark.scale
def test_a_killed_tower_costs_no_request(seen: dict[str, Any], figure: Figure) -> None:
    """The ingress asks another tower again: no client has to, and no video of a batch fails."""
    killed = seen["killed"]
    figure("towers apart, tower killed: requests answered", killed["answered"]["first"])
    figure("towers apart, tower killed: asked a second time", killed["retried"])
    figure("towers apart, tower killed: lost", len(killed["lost"]))
    assert killed["answered"]["first"] > 0
    assert killed["was_under_way"]
    assert killed["unscored"] == killed["lost"] == []
    assert killed["retried"] == 0


@pytest.mark.scale
def test_no_answer_is_of_two_models(seen: dict[str, Any], figure: Figure) -> None:
    """While the checkpoint changes every score is one model's; a request without one is a 503."""
    changed = seen["changed"]
    figure("towers apart, checkpoint changed: requests answered", sum(changed["answered"].values()))
    figure("towers apart, checkpoint changed: asked a second time", changed["retried"])
    figure("towers apart, checkpoint changed: no score at the second", len(changed["lost"]))
    assert changed["answered"].keys() == {"first", "second"}
    assert all(reason.startswith("503 ") for reason in changed["lost"])


@pytest.mark.scale
def test_a_full_tower_is_a_503_with_retry_after(seen: dict[str, Any]) -> None:
    """It is the ingress's own answer; admitted requests are answered."""
    refused = [rest for status, *rest in seen["crowd"] if status == 503]
    assert {status for status, *_ in seen["crowd"]} == {200, 503}
    assert {tuple(rest) for rest in refused} == {("2", "urn:miles:problem:overloaded")}


@pytest.mark.scale
def test_requests_of_several_ingress_replicas_share_a_forward(seen: dict[str, Any]) -> None:
    """Each of them has one request at a time, so two in a forward come from two replicas."""
    assert max(int(size) for size in seen["batches"]) > 1


@pytest.mark.scale
def test_what_separate_towers_cost(figure: Figure) -> None:
    """On the full-size demo, as a ratio of processor time: a call to a tower is not free."""
    checkpoint = ROOT / "models" / "model_full.pt"
    seen = run("tower_cost", bundle_directory(checkpoint, check_file(checkpoint, None)))
    for load, row in seen.items():
        figure(
            f"towers apart, {load}: CPU of a video, whole replicas = 1", round(row["apart"] / row["whole"], 2)
        )
        assert min(row.values()) > 0
