"""deploy/kubernetes against the cluster's own schemas, and against what Miles promises and needs."""

import copy
import itertools
import operator
import re
import sys
from functools import reduce
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from app import create_app
from preprocessing.thumbnails.policy import GLOBAL_IPV6, REFUSED_IPV4, REFUSED_IPV6, WEB_PORTS
from serving.process.server import LAST_RESORT_S
from serving.settings import Settings, SettingsError
from tests.support.process import completed
from tests.support.service import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.30", kubernetes_validate.latest_version()
FOLDERS = ["base", "monitoring", "queue"]
KUBECTL = Path(sys.prefix) / "bin" / "kubectl"
LABELS = {"app.kubernetes.io/name": "miles"}


def read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return values


def kustomization(folder: str) -> dict[str, Any]:
    """A folder's kustomization."""
    return read(FOLDER / folder / "kustomization.yaml")


MANIFESTS = {
    str(path.relative_to(FOLDER)): read(path)
    for path in sorted(FOLDER.rglob("*.yaml"))
    if path.name != "kustomization.yaml"
}
DEPLOYMENT = MANIFESTS["base/deployment.yaml"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


def applied(folder: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send to the cluster."""
    put_together = completed([KUBECTL, "kustomize", FOLDER / folder], check=True)
    return list(yaml.safe_load_all(put_together.stdout))


def fits_the_monitors_schema(manifest: dict[str, Any]) -> bool:
    """Whether the operator's models accept it and know every field: they drop unknown ones."""
    from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor  # takes seconds

    try:
        read_as = ServiceMonitor.model_validate(manifest)
    except ValidationError:
        return False
    return bool(read_as.model_dump(by_alias=True, exclude_unset=True, mode="json") == manifest)


def test_what_is_applied_fits_the_schemas() -> None:
    """Every field exists with its type in the API, in the oldest supported version and the newest."""
    failures = []
    for folder, version in itertools.product(FOLDERS, (OLDEST, NEWEST)):
        for manifest in applied(folder):
            if manifest["kind"] == "ServiceMonitor":
                failures += [] if fits_the_monitors_schema(manifest) else [f"{folder}: ServiceMonitor"]
            else:
                failures += invalid(manifest, version)
    assert failures == []
    assert invalid({**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replica": 2}}, NEWEST) != []


def invalid(manifest: dict[str, Any], version: str) -> list[str]:
    """What is wrong with a manifest by Kubernetes' schema."""
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as exc:
        return [f"{manifest['kind']} in {version}: {exc.message}"]
    return []


def test_the_monitors_schema_refuses_what_is_wrong() -> None:
    """A value of the wrong form, of the wrong type, and a field that does not exist."""
    for field, value in (("interval", "15 s"), ("port", 80), ("scrapeTimeOut", "10s")):
        wrong = copy.deepcopy(MANIFESTS["monitoring/service-monitor.yaml"])
        assert fits_the_monitors_schema(wrong)
        wrong["spec"]["endpoints"][0][field] = value
        assert not fits_the_monitors_schema(wrong), field


def test_each_folder_applies_all_its_files_in_one_namespace() -> None:
    """Every file is a resource or a patch; the Deployment has the image and settings that the base names."""
    (image,) = kustomization("base")["images"]
    for folder in FOLDERS:
        parts = kustomization(folder)
        named = [name for name in parts["resources"] if not name.startswith("..")]
        named += [patch["path"] for patch in parts.get("patches", [])]
        there = {path.name for path in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}
        assert sorted(named) == sorted(there)
        every = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in applied(folder)}
        namespace = every.pop(("Namespace", "miles"))["metadata"]["name"]
        assert {manifest["metadata"]["namespace"] for manifest in every.values()} == {namespace}
        (container,) = every["Deployment", "miles"]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"{image['newName']}:{image['newTag']}"
        settings = [each["configMapRef"]["name"] for each in container["envFrom"] if "configMapRef" in each]
        assert [name for kind, name in every if kind == "ConfigMap"] == settings


def test_the_queues_autoscaler_adds_one_metric() -> None:
    """By processor time as before, and by waiting videos per pod, with the target of Ray Serve."""
    plain, by_queue = (
        next(manifest for manifest in applied(folder) if manifest["kind"] == "HorizontalPodAutoscaler")
        for folder in ("base", "queue")
    )
    cpu, queue = by_queue["spec"].pop("metrics")
    assert [cpu] == plain["spec"].pop("metrics")
    assert by_queue == plain
    serve = read(ROOT / "deploy" / "ray" / "serve.yaml")["applications"][0]["deployments"][0]
    aim = serve["autoscaling_config"]["target_ongoing_requests"]
    assert queue["pods"]["target"] == {"type": "AverageValue", "averageValue": str(aim)}


def test_the_pod_has_no_privileges() -> None:
    """It is the image's user, on a read-only root, without capabilities, privileges or a cluster's token."""
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert user is not None
    assert POD["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": int(user[1]),
        "runAsGroup": int(user[2]),
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["automountServiceAccountToken"] is False
    labels = MANIFESTS["base/namespace.yaml"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (generated,) = kustomization("base")["configMapGenerator"]
    assert {"configMapRef": {"name": generated["name"]}} in CONTAINER["envFrom"]
    for literal in generated["literals"]:
        name, _, value = literal.partition("=")
        monkeypatch.setenv(name, value)
    Settings.from_environment()


def test_the_cluster_sets_no_variables_for_services(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes' variables for a Service named miles would end the process; they are switched off."""
    port = MANIFESTS["base/service.yaml"]["spec"]["ports"][0]["port"]
    monkeypatch.setenv("MILES_PORT", f"tcp://10.96.0.7:{port}")
    with pytest.raises(SettingsError):
        Settings.from_environment()
    assert POD["enableServiceLinks"] is False


def test_probes_ask_existing_routes() -> None:
    """Startup and readiness ask whether it can score, liveness whether it answers, all on its port."""
    paths = {
        name: CONTAINER[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/health/ready", "readiness": "/health/ready", "liveness": "/health/live"}
    assert set(paths.values()) <= create_app(Settings()).openapi()["paths"].keys()
    assert [port["containerPort"] for port in CONTAINER["ports"]] == [Settings().port]


def test_pod_is_given_the_time_to_stop() -> None:
    """The pause before SIGTERM and the longest stop fit into the grace period."""
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] > pause + LAST_RESORT_S


SELECTORS = [
    ("base/deployment.yaml", "spec.selector.matchLabels"),
    ("base/deployment.yaml", "spec.template.metadata.labels"),
    ("base/service.yaml", "spec.selector"),
    ("base/service.yaml", "metadata.labels"),
    ("base/disruption.yaml", "spec.selector.matchLabels"),
    ("base/network.yaml", "spec.podSelector.matchLabels"),
    ("monitoring/network.yaml", "spec.podSelector.matchLabels"),
    ("monitoring/service-monitor.yaml", "spec.selector.matchLabels"),
]


def test_everything_selects_the_same_pods() -> None:
    """One label connects Deployment, Service, budget, policies and monitor."""
    found = [reduce(operator.getitem, path.split("."), MANIFESTS[name]) for name, path in SELECTORS]
    assert found == [LABELS] * len(SELECTORS)


def test_autoscaler_drives_the_deployment() -> None:
    """It names the Deployment, which itself sets no number of replicas."""
    target = MANIFESTS["base/autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert target == {key: DEPLOYMENT[key] for key in ("apiVersion", "kind")} | {"name": "miles"}
    assert "replicas" not in DEPLOYMENT["spec"]


def test_service_and_monitor_reach_the_container() -> None:
    """The Service sends to the container's port by its name, and Prometheus asks there for metrics."""
    (port,) = MANIFESTS["base/service.yaml"]["spec"]["ports"]
    monitor = MANIFESTS["monitoring/service-monitor.yaml"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert port["targetPort"] in [port["name"] for port in CONTAINER["ports"]]
    assert endpoint["port"] == port["name"]
    assert endpoint["path"] in create_app(Settings()).openapi()["paths"]
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "ServiceMonitor")
    assert int(endpoint["scrapeTimeout"].rstrip("s")) <= int(endpoint["interval"].rstrip("s"))


def test_pods_are_reached_only_by_their_one_port() -> None:
    """Each ingress rule names its peers and the container's port."""
    for name in ("base/network.yaml", "monitoring/network.yaml"):
        spec = MANIFESTS[name]["spec"]
        assert "Ingress" in spec["policyTypes"]
        for rule in spec["ingress"]:
            assert rule["from"]
            assert [port["port"] for port in rule["ports"]] == ["http"]


def test_only_name_lookups_and_thumbnails_go_out() -> None:
    """Name servers on 53, and on 80 and 443 exactly the addresses that the fetcher itself would dial."""
    spec = MANIFESTS["base/network.yaml"]["spec"]
    assert "Egress" in spec["policyTypes"]
    names, web = spec["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert all("namespaceSelector" in peer and "podSelector" in peer for peer in names["to"])
    assert {(port["protocol"], port["port"]) for port in web["ports"]} == {
        ("TCP", port) for port in WEB_PORTS
    }
    blocks = {
        ip_network(peer["ipBlock"]["cidr"]): {ip_network(block) for block in peer["ipBlock"]["except"]}
        for peer in web["to"]
    }
    assert blocks == {ip_network("0.0.0.0/0"): set(REFUSED_IPV4), GLOBAL_IPV6: set(REFUSED_IPV6)}
