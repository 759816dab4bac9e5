"""deploy/ray/rayservice.yaml against serve.yaml, Kubernetes' schemas, and the plain Deployment."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.support.requirements import pins
from tests.support.service import ROOT

NEWEST = kubernetes_validate.latest_version()
SERVE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/ray/serve.yaml").read_text(encoding="utf-8"))
SERVICE, POLICY = yaml.safe_load_all((ROOT / "deploy/ray/rayservice.yaml").read_text(encoding="utf-8"))
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
(WORKERS,) = CLUSTER["workerGroupSpecs"]
TEMPLATES = {"head": CLUSTER["headGroupSpec"]["template"], "worker": WORKERS["template"]}


def test_what_it_serves_is_serve_yaml_s() -> None:
    """Except the proxy's address, which is the pod's, and the checkpoint, which is the image's."""
    embedded = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    assert embedded["http_options"].pop("host") == "0.0.0.0"
    (deployment,) = embedded["applications"][0]["deployments"]
    deployment["ray_actor_options"]["runtime_env"]["env_vars"]["MILES_CHECKPOINT"] = "models/model_full.pt"
    plain = SERVE | {"http_options": {k: v for k, v in SERVE["http_options"].items() if k != "host"}}
    assert embedded == plain


def test_its_ray_is_the_one_that_is_pinned() -> None:
    """The operator and the image have the same version."""
    (pin,) = (pin for pin in pins(ROOT / "requirements/scale.txt") if pin.startswith("ray["))
    assert CLUSTER["rayVersion"] == pin.partition("==")[2]


def test_the_minimum_of_replicas_has_room() -> None:
    """In the workers; the head runs none."""
    deployment = SERVE["applications"][0]["deployments"][0]
    cores = int(TEMPLATES["worker"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    each = deployment["ray_actor_options"]["num_cpus"]
    assert WORKERS["replicas"] * (cores // each) >= deployment["autoscaling_config"]["min_replicas"]
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_pod_is_valid_and_as_restricted_as_the_plain_one(name: str) -> None:
    """Valid by Kubernetes' schema; the same user, root and capabilities; probes on ports that it has."""
    pod = TEMPLATES[name]["spec"]
    whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod}
    kubernetes_validate.validate(whole, NEWEST, strict=True)
    path = ROOT / "deploy/kubernetes/base/deployment.yaml"
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"] == plain["securityContext"] | {"fsGroup": 1000}
    assert container["securityContext"] == plain["containers"][0]["securityContext"]
    assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False
    assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
    asked = {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")}
    assert asked <= {port["name"] for port in container["ports"]}


def test_ray_s_own_ports_are_for_its_pods() -> None:
    """Other sources are named: they reach the proxy; the operator also reaches the dashboard."""
    kubernetes_validate.validate(POLICY, NEWEST, strict=True)
    own, *others = POLICY["spec"]["ingress"]
    selector = POLICY["spec"]["podSelector"]
    assert own == {"from": [{"podSelector": selector}]}
    assert all(template["metadata"]["labels"] == selector["matchLabels"] for template in TEMPLATES.values())
    assert all(rule["from"] for rule in others)
    assert [{port["port"] for port in rule["ports"]} for rule in others] == [{8265, 8000}, {8000}]


def test_its_pods_reach_each_other_and_what_plain_miles_reaches() -> None:
    """Name servers, and the addresses that the fetcher allows on 80 and 443."""
    path = ROOT / "deploy/kubernetes/base/network.yaml"
    plain = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["egress"]
    own = {"to": [{"podSelector": POLICY["spec"]["podSelector"]}]}
    assert POLICY["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert POLICY["spec"]["egress"] == [own, *plain]
