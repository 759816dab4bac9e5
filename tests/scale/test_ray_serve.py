"""The service on Ray Serve: one replica answers as the single process, and a hurt cluster loses nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.scale.figures import Figure, scored
from tests.scale.ray_here import needs_ray
from tests.service import ROOT, environment, ready_service

LIMIT_S = 560
QUESTIONS: list[dict[str, Any]] = [
    {
        "title": f"I tried {views} viral pasta hacks!",
        "view_count": views,
        "like_count": views // 20,
        "published_at": "2018-01-02T00:00:00Z",
        "observed_at": "2018-01-05T00:00:00Z",
    }
    for views in (10, 1000, 100_000)
]

pytestmark = needs_ray


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray's own models
def test_the_cluster_s_file_is_one_of_ray_serve_s() -> None:
    """By Ray's own schema, and no key in it is unknown to Ray; it deploys what deploy/ray_serve.py names."""
    from ray.serve.schema import ServeDeploySchema

    written = yaml.safe_load((ROOT / "deploy" / "ray" / "serve.yaml").read_text(encoding="utf-8"))
    read = ServeDeploySchema.model_validate(written).model_dump(exclude_unset=True)
    assert (
        read["applications"][0]["deployments"][0].keys()
        == written["applications"][0]["deployments"][0].keys()
    )
    assert read["http_options"].keys() == written["http_options"].keys()
    assert read["applications"][0]["import_path"] == "deploy.ray_serve:app"
    written["applications"][0]["deployments"][0]["max_queued_requests"] = "many"
    with pytest.raises(ValueError, match="max_queued_requests"):
        ServeDeploySchema.model_validate(written)


@pytest.mark.scale
def test_a_hurt_cluster_loses_no_request(tmp_path: Path, model: Path, figure: Figure) -> None:
    """A replica killed, then a node: one more try gets each score, and all are the single process's."""
    questions = tmp_path / "questions.json"
    questions.write_text(json.dumps(QUESTIONS))
    ran = subprocess.run(
        [sys.executable, "-m", "tests.scale.cluster", str(model), str(questions)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout.splitlines()[-1])
    figure("Serve: two replicas ready after, s", seen["ready_s"])
    for hurt in ("replica", "node"):
        figure(f"{hurt} killed: requests answered", seen[hurt]["answered"])
        figure(f"{hurt} killed: asked a second time", seen[hurt]["retried"])
        figure(f"{hurt} killed: lost", len(seen[hurt]["lost"]))
        figure(f"{hurt} killed: full capacity again after, s", seen[hurt]["full_capacity_s"])
    with ready_service(tmp_path / "log", checkpoint=model, max_batch_size=1) as single:
        alone = [scored(httpx.post(f"{single.url}/predict", json=question)) for question in QUESTIONS]
    assert seen["answers"] == alone
    assert seen["health"] == 200
    for hurt in ("replica", "node"):
        assert seen[hurt]["lost"] == []
        assert seen[hurt]["answered"] > 0
