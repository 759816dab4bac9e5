"""A Ray cluster of four nodes on this machine that loses parts while it serves; prints observations as JSON.

    python -m tests.scale.cluster BUNDLE QUESTIONS.json      in a process of its own

The first node has a proxy and no cores for replicas; each other has a proxy and room for one. Two replicas
serve; one is killed under load, then the node of one, with its proxy.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import ray
from ray import serve
from ray.cluster_utils import Cluster

from deploy.ray_serve import app
from tests.scale.figures import scored
from tests.scale.load import Load
from tests.scale.local_ray import NODE, running, serving_cluster, until
from tests.support.service import free_port
from tests.support.thumbnail_host import picture
from tests.support.web import Asked, Reply, web_host

REPLICAS = 2
WORKERS = 3
CALM_S = 3.0
CROWD = 16


class Pictures:
    """A host that answers with a picture while its gate is open; `waiting` requests are not answered yet."""

    def __init__(self) -> None:
        self.gate, self.waiting, self._lock = threading.Event(), 0, threading.Lock()
        self.gate.set()

    def answer(self, _: Asked) -> Reply:
        with self._lock:
            self.waiting += 1
        self.gate.wait()
        with self._lock:
            self.waiting -= 1
        return Reply(200, picture(), {"Content-Type": "image/jpeg"})


def during(load: Load, hurt: Callable[[], None]) -> dict[str, Any]:
    """Damage the cluster under load; returns the load's account, and how long replicas were missing."""
    with load.running():
        time.sleep(CALM_S)
        began = time.monotonic()
        hurt()
        until(lambda: running("Miles") < REPLICAS)
        until(lambda: running("Miles") == REPLICAS)
        took = time.monotonic() - began
        time.sleep(CALM_S)
    return load.account | {"full_capacity_s": round(took, 1)}


def replicas() -> dict[str, str]:
    """The node of each replica that is alive, by the replica's name."""
    alive = [actor for actor in ray._private.state.actors().values() if actor["State"] == "ALIVE"]
    named = {actor["Name"]: actor["Address"]["NodeID"] for actor in alive}
    return {name: node for name, node in named.items() if name.startswith("SERVE_REPLICA::")}


def kill_replica(pictures: Pictures) -> None:
    """Crash one replica while all wait for the picture, which a replica fetches once for all its requests."""
    pictures.gate.clear()
    until(lambda: pictures.waiting >= REPLICAS)
    ray.kill(ray.get_actor(next(iter(replicas())), namespace="serve"))
    pictures.gate.set()


def main(model: str, questions: str) -> dict[str, Any]:
    os.environ |= {
        "MILES_CHECKPOINT": model,
        "MILES_MAX_BATCH_SIZE": "1",
        "MILES_LOG_LEVEL": "error",
        "MILES_THUMBNAIL_TRUSTED_NETWORKS": "127.0.0.0/8",
        "MILES_THUMBNAIL_TTL_S": "0",  # so that each request waits for its picture
    }
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    nodes = {}

    def add_nodes(cluster: Cluster) -> None:
        for port in [free_port() for _ in range(WORKERS)]:  # of the proxies, which share an address
            own = {"RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(port)}
            nodes[cluster.add_node(**NODE, num_cpus=1, env_vars=own)] = port

    with serving_cluster(add_nodes, proxy_location="EveryNode") as (cluster, url):
        began = time.monotonic()
        serve.run(of_one_core(REPLICAS), name="default")
        ready_s = time.monotonic() - began
        answers = [scored(httpx.post(f"{url}/predict", json=question, timeout=40)) for question in asked]
        pictures = Pictures()
        with web_host(pictures.answer) as host:
            # The first question's picture, at an address.
            fetched = [asked[0] | {"thumbnail_url": f"{host}/0.jpg"}]
            load = Load([url], fetched, {"single": answers}, clients=CROWD)
            replica = during(load, partial(kill_replica, pictures))
        node, port = next((node, port) for node, port in nodes.items() if node.node_id in replicas().values())
        until(lambda: is_answering(port))
        urls = [f"http://127.0.0.1:{port}", url]
        ended = during(
            Load(urls, asked, {"single": answers}),
            lambda: cluster.remove_node(node, allow_graceful=False),  # as a power cut would
        )
        health = httpx.get(f"{url}/health/ready", timeout=40).status_code
        proxy = "up" if is_answering(port) else "gone"
        return {
            "answers": answers,
            "ready_s": round(ready_s, 1),
            "health": health,
            "replica": replica,
            "node": ended | {"proxy": proxy},
        }


def is_answering(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=40).status_code == 200
    except httpx.TransportError:
        return False


def of_one_core(count: int) -> serve.Application:
    """The app in `count` replicas of a core each."""
    deployment = app._bound_deployment.options(
        num_replicas=count, autoscaling_config=None, ray_actor_options={"num_cpus": 1}
    )
    return deployment.bind()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
