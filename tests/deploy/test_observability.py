"""The alert rules and the dashboard against the metrics that a real service shows."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from serving.scoring.warnings import FEWEST_ROWS
from tests.support.service import ROOT, ready_service
from tests.training.outcomes.kept import drawn, looked
from training.commands import WATCH_PORT
from training.outcomes.judge import judge
from training.outcomes.watch import OutcomesCollector

GRAFANA = ROOT / "deploy" / "grafana" / "miles.json"
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = json.loads(GRAFANA.read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ADAPTED = yaml.safe_load((PROMETHEUS / "adapter.yaml").read_text(encoding="utf-8"))["rules"]["custom"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DOCUMENTS = (ROOT / "docs" / f"{name}.md" for name in ("operations", "outcomes"))
GUIDE = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
# Labels that Prometheus adds to what it scrapes, on Kubernetes too, and the one metric that it makes itself.
TARGET_LABELS = {"job", "instance", "namespace", "pod"}
PROMETHEUS_METRICS = {"up": TARGET_LABELS}
GRAFANA_WIDTH = 24
PANEL_TYPES = {"timeseries", "stat", "bargauge", "heatmap", "table"}


def expressions() -> dict[str, str]:
    """Every expression of rules, dashboard and adapter by its place, with variables filled in."""
    found = {f"alert {rule['alert']}": str(rule["expr"]) for rule in RULES}
    for rule in ADAPTED:
        found[f"adapter's series {rule['seriesQuery']}"] = rule["seriesQuery"]
        query = rule["metricsQuery"].replace("<<.Series>>", rule["seriesQuery"].partition("{")[0])
        query = query.replace("<<.LabelMatchers>>", 'namespace="miles",pod=~"a|b"')
        found[f"adapter's query {rule['metricsQuery']}"] = query.replace("<<.GroupBy>>", "pod")
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "1m")
            found[f"panel {panel['title']} {target['refId']}"] = expression
    return found


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    waiting: list[Any] = [promql_parser.parse(expression)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, promql_parser.VectorSelector):
            yield node
            continue
        for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
            waiting += [child] if (child := getattr(node, name, None)) is not None else []
        waiting += getattr(node, "args", [])


@pytest.fixture(scope="module")
def shown(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The label names of every sample of a service that has scored, refused, limited and drifted."""
    folder = tmp_path_factory.mktemp("observed")
    settings = {"checkpoint": tiny_path, "precision": "f32", "rate_limit": 10 * FEWEST_ROWS}
    with (
        ready_service(folder / "log", **settings) as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        videos = [{"title": f"video {number % 3}"} for number in range(250)]
        for _ in range(FEWEST_ROWS // len(videos)):
            client.post("/predict/batch", json={"videos": videos}).raise_for_status()
        assert client.post("/predict", json={}).status_code == 422
        text = client.get("/metrics").text
    text += _outcomes()
    labels: dict[str, set[str]] = dict(PROMETHEUS_METRICS)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels[sample.name] = labels.get(sample.name, set()) | set(sample.labels)
    return labels


def _outcomes() -> str:
    """What ./miles outcomes --watch shows of a few hundred predictions."""
    registry, collector = CollectorRegistry(), OutcomesCollector()
    collector.outcomes, collector.is_up = judge(looked(drawn(200, shadow_error=0.5)), 1000), True
    registry.register(collector)
    return generate_latest(registry).decode()


def test_every_expression_asks_for_what_is_shown(shown: dict[str, set[str]]) -> None:
    """Each expression parses, and the running service has each metric and label in it."""
    failures = []
    for place, expression in expressions().items():
        asked = list(selectors(expression))
        failures += [] if asked else [f"{place}: no metric"]
        for selector in asked:
            known = shown.get(str(selector.name), set()) | TARGET_LABELS
            labels = {matcher.name for matcher in selector.matchers.matchers}
            if selector.name not in shown or not labels <= known:
                failures.append(f"{place}: {selector.name} {labels - known}")
    assert failures == []


def test_every_metric_is_in_the_guide(shown: dict[str, set[str]]) -> None:
    families = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in shown}
    missing = [name for name in sorted(families) if name.startswith("miles_") and name not in GUIDE]
    assert missing == []


def test_an_unknown_metric_would_be_found() -> None:
    """The walk through an expression reaches aggregations, comparisons, divisions and nested terms."""
    found = selectors("histogram_quantile(0.9, sum by (le) (rate(a[5m]))) / (b + -c) > 2 or absent(d)")
    assert {selector.name for selector in found} == {"a", "b", "c", "d"}


def test_every_alert_says_what_to_do() -> None:
    """A rule waits before it fires, has a severity, and says what happened and what to do."""
    failures = [
        rule["alert"]
        for rule in RULES
        if rule.keys() != {"alert", "expr", "for", "labels", "annotations"}
        or not re.fullmatch(r"\d+[mh]", rule["for"])
        or rule["labels"]["severity"] not in {"warning", "critical"}
        or rule["annotations"].keys() != {"summary", "remedy"}
    ]
    assert failures == []


def test_the_adapter_knows_what_the_autoscaler_asks_for() -> None:
    """Each metric of pods in the autoscaler has a rule, which tells Kubernetes its namespace and pod."""
    path = ROOT / "deploy" / "kubernetes" / "queue" / "autoscaler.yaml"
    metrics = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["metrics"]
    asked = {metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"}
    assert asked == {rule["seriesQuery"].partition("{")[0] for rule in ADAPTED}
    for rule in ADAPTED:
        assert rule["resources"]["overrides"] == {name: {"resource": name} for name in ("namespace", "pod")}


def test_prometheus_loads_the_rules_that_are_there() -> None:
    """The example configuration names the rules' file and the job that rules and dashboard ask for."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    assert [(PROMETHEUS / name).exists() for name in config["rule_files"]] == [True]
    scrape, outcomes = config["scrape_configs"]
    assert outcomes["static_configs"][0]["targets"] == [f"localhost:{WATCH_PORT}"]
    jobs = set(re.findall(r'job="([^"]*)"', (PROMETHEUS / "alerts.yml").read_text(encoding="utf-8")))
    assert jobs == {scrape["job_name"]}


def test_the_dashboard_is_one_that_grafana_loads() -> None:
    """It has a title, a schema and panels with unique ids, each with type, title, position and options."""
    assert DASHBOARD["title"] == "Miles"
    assert DASHBOARD["schemaVersion"] >= 30
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", DASHBOARD["uid"])
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["type"] in PANEL_TYPES
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert {"defaults", "overrides"} <= panel["fieldConfig"].keys()
        assert panel["options"].keys()
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


def test_the_dashboard_queries_the_chosen_data_source() -> None:
    """No data source is hard-coded: every panel follows the dashboard's variables."""
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert {name: variable["type"] for name, variable in variables.items()} == {
        "datasource": "datasource",
        "job": "query",
    }
    sources = [panel["datasource"] for panel in PANELS]
    sources += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)
    asked = [target["expr"] for panel in PANELS for target in panel["targets"]]
    assert all('job="$job"' in each or each.startswith("miles_outcomes") for each in asked)


def test_no_panel_covers_another() -> None:
    """Panels lie side by side within Grafana's 24 columns."""
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= GRAFANA_WIDTH for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
