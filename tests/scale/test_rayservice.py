"""The files of deploy/ray against Ray itself: the settings that Ray gets, and its time to stop."""

import pytest
import yaml

from tests.scale.ray_here import needs_ray
from tests.support.service import ROOT

pytestmark = needs_ray

DOCUMENTS = yaml.safe_load_all((ROOT / "deploy" / "ray" / "rayservice.yaml").read_text(encoding="utf-8"))
SPEC = next(each["spec"] for each in DOCUMENTS if each["kind"] == "RayService")
GROUPS = [SPEC["rayClusterConfig"]["headGroupSpec"], *SPEC["rayClusterConfig"]["workerGroupSpecs"]]
TO_END_PROCESSES_S = 15  # how long `ray start` waits for processes that do not stop at once


def test_a_groups_parameters_are_options_of_ray_start() -> None:
    """The operator passes each as `--NAME=VALUE`; values are text, as in its map."""
    from ray.scripts.scripts import start

    options = {name.removeprefix("--") for option in start.params for name in option.opts}
    for group in GROUPS:
        assert group["rayStartParams"].keys() <= options
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def test_a_pod_has_the_time_that_ray_takes_to_drain_it() -> None:
    """Which is longer than replicas have to finish requests in flight."""
    from ray._private.ray_constants import RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S

    (application,) = yaml.safe_load(SPEC["serveConfigV2"])["applications"]
    in_flight = max(each.get("graceful_shutdown_timeout_s", 20) for each in application["deployments"])
    assert in_flight < RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S
    for group in GROUPS:
        grace = group["template"]["spec"]["terminationGracePeriodSeconds"]
        assert grace > RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S + TO_END_PROCESSES_S


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`")  # Ray's own models
def test_the_clusters_file_is_valid_for_ray_serve() -> None:
    """Ray's own schema accepts it and knows every key; it deploys what deploy/ray_serve.py names."""
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
