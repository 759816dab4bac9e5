"""A Ray cluster of three nodes on this machine that serves separate towers; prints observations as JSON.

    python -m tests.scale.tower_cluster FIRST SECOND ASKED.json     in a process of its own

FIRST and SECOND are bundles; ASKED holds questions, and each bundle's answers. The first node has
the proxy and no cores for replicas. One after another: the answers; a text tower killed under load; the
checkpoint changed under load; a tower that is full; batches, where each ingress replica has one request.
"""

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve
from ray.cluster_utils import Cluster

from deploy.ray_serve import image_tower, ingress, text_tower
from tests.scale.figures import scored
from tests.scale.load import Load
from tests.scale.local_ray import NODE, running, serving_cluster, until

CALM_S = 3.0
LIMIT_S = 240
BEGUN_S = 0.5
PATIENCE_S = 60.0
CROWD = 24
MANY = 250
INGRESSES = 3


def serving(checkpoint: str, *, texts: int = 2, most: dict[str, int] | None = None, **variables: str) -> None:
    """Serve that checkpoint with separate towers; `most` limits an ingress replica, or the text tower."""
    settings = {
        "MILES_CHECKPOINT": checkpoint,
        "MILES_CACHE_BYTES": "0",
        "MILES_LOG_LEVEL": "error",
        "MILES_REQUEST_TIMEOUT_S": "120",
    }
    most = most or {}

    def of(deployment: serve.Deployment, count: int, **options: Any) -> serve.Deployment:
        actor = {"num_cpus": 0.5, "runtime_env": {"env_vars": settings | variables}}
        return deployment.options(
            num_replicas=count,
            autoscaling_config=None,
            max_surge_percent=100,  # nothing old stops before something new answers
            ray_actor_options=actor,
            **options,
        )

    text_limits = {name: limit for name, limit in most.items() if name.startswith("max_")}
    ingress_limits = {"max_ongoing_requests": most["ingress"]} if "ingress" in most else {}
    texts_of, images_of = of(text_tower, texts, **text_limits), of(image_tower, 2)
    application = of(ingress, INGRESSES, **ingress_limits).bind(
        texts_of.bind("text"), images_of.bind("image")
    )
    serve.run(application, name="default")


def kill_text_tower() -> None:
    """End the process of one text tower as a crash would."""
    process = next(
        actor["Pid"]
        for actor in ray._private.state.actors().values()
        if actor["State"] == "ALIVE" and actor["Name"].startswith("SERVE_REPLICA::default#TextTower#")
    )
    os.kill(process, signal.SIGKILL)


def killed(load: Load) -> dict[str, Any]:
    """The account of a load while a text tower was killed and another took its place.

    A request of many videos is in flight then, so the tower has accepted calls that it has not answered.
    """
    with load.running(), ThreadPoolExecutor(1) as client:
        time.sleep(CALM_S)
        many = client.submit(unscored, load.urls[0], load.questions[0])
        time.sleep(BEGUN_S)
        was_under_way = not many.done()
        kill_text_tower()
        until(lambda: running("TextTower") < 2)
        until(lambda: running("TextTower") == 2)
        time.sleep(CALM_S)
    return load.account | {"unscored": many.result(), "was_under_way": was_under_way}


def unscored(url: str, question: dict[str, Any]) -> list[str]:
    videos = [question | {"title": f"{question['title']} {number}"} for number in range(MANY)]
    answer = httpx.post(f"{url}/predict/batch", json={"videos": videos}, timeout=LIMIT_S)
    entries = answer.raise_for_status().json()["predictions"]
    return [entry["error"]["detail"] for entry in entries if "error" in entry]


def changed(load: Load, second: str) -> dict[str, Any]:
    with load.running():
        time.sleep(CALM_S)
        serving(second, MILES_MAX_BATCH_SIZE="1")
        time.sleep(CALM_S)
    return load.account


def crowded(url: str, question: dict[str, Any]) -> list[tuple[int, str | None, str | None]]:
    """Status, Retry-After and kind of each answer to many questions at once."""

    def ask(number: int) -> tuple[int, str | None, str | None]:
        video = question | {"title": f"{question['title']} {number}"}
        answer = httpx.post(f"{url}/predict", json=video, timeout=PATIENCE_S)
        return answer.status_code, answer.headers.get("Retry-After"), answer.json().get("type")

    with ThreadPoolExecutor(CROWD) as clients:
        return list(clients.map(ask, range(CROWD)))


def batches(url: str, question: dict[str, Any]) -> dict[int, int]:
    """Sizes of the text tower's forwards, once one of them is for more than one request."""
    tower = serve.get_deployment_handle("TextTower", "default")
    deadline = time.monotonic() + LIMIT_S
    sizes: dict[int, int] = {}
    while max(sizes, default=0) < 2 and time.monotonic() < deadline:
        crowded(url, question)
        sizes = tower.batches.remote().result(timeout_s=PATIENCE_S)
    return sizes


def seen(url: str, first: str, second: str, path: str) -> dict[str, Any]:
    read = json.loads(Path(path).read_text(encoding="utf-8"))
    asked, known = read["questions"], read["answers"]

    def answers() -> list[dict[str, Any]]:
        return [scored(httpx.post(f"{url}/predict", json=video, timeout=PATIENCE_S)) for video in asked]

    serving(first, MILES_MAX_BATCH_SIZE="1")
    account: dict[str, Any] = {"first": answers()}
    account["ready"] = httpx.get(f"{url}/health/ready", timeout=PATIENCE_S).status_code
    account["killed"] = killed(Load([url], asked, {"first": known["first"]}, pause_s=0.05))
    account["changed"] = changed(Load([url], asked, known, pause_s=0.05), second)
    account["second"] = answers()
    serving(second, texts=1, most={"max_ongoing_requests": 1, "max_queued_requests": 1})
    account["crowd"] = crowded(url, asked[0])
    serving(second, texts=1, most={"ingress": 1})
    account["batches"] = batches(url, asked[0])
    return account


def main(first: str, second: str, path: str) -> dict[str, Any]:
    def add_nodes(cluster: Cluster) -> None:
        for _ in range(2):
            cluster.add_node(**NODE, num_cpus=4)

    with serving_cluster(add_nodes) as (_, url):
        return seen(url, first, second, path)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
