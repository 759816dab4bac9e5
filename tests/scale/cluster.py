"""A Ray cluster of three nodes on this machine that serves and is hurt; prints what was seen as JSON.

    python -m tests.scale.cluster BUNDLE QUESTIONS.json      in a process of its own: Ray is one per process

The first node has the proxy and no cores for replicas, the two others have room for two replicas each. Two
replicas serve; one is killed under load, then the node of one.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's name for: the loopback interface alone
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# A machine that is busy with other things starts processes slowly; Ray would give them up after 5 and 10 s.
os.environ["RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S"] = "60"
os.environ["RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S"] = "60"

import httpx
import ray
from ray import serve
from ray.cluster_utils import Cluster

from deploy.ray_serve import app
from tests.scale.figures import scored
from tests.service import free_port

REPLICAS = 2
CLIENTS = 4
CALM_S = 3.0
PAUSE_S = 0.2  # between a client's questions: the cluster is to be hurt, not to be full
RETRY_S = 1.0  # before it asks again
LIMIT_S = 240
NODE = {"num_cpus": 2, "object_store_memory": 80 * 1024 * 1024, "node_ip_address": "127.0.0.1"}


@dataclass
class Load:
    """Clients that ask one question after another, and ask again once when they get no score."""

    url: str
    question: dict[str, Any]
    expected: dict[str, Any]
    answered: int = 0
    retried: int = 0
    lost: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """One client."""
        while not self._stop.is_set():
            with httpx.Client(timeout=40) as client:
                reason = self._ask(client)
                time.sleep(PAUSE_S)
                if reason is not None:
                    time.sleep(RETRY_S)
                    with self._lock:
                        self.retried += 1
                    reason = self._ask(client)
            with self._lock:
                self.answered += reason is None
                if reason is not None:
                    self.lost.append(reason)

    def during(self, hurt: Callable[[], None]) -> float:
        """Hurt the cluster under load; seconds until it has all its replicas again."""
        clients = [threading.Thread(target=self.run) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            time.sleep(CALM_S)
            began = time.monotonic()
            hurt()
            until(lambda: running() < REPLICAS)
            until(lambda: running() == REPLICAS)
            took = time.monotonic() - began
            time.sleep(CALM_S)
        finally:
            self._stop.set()
            for client in clients:
                client.join()
        return took

    def _ask(self, client: httpx.Client) -> str | None:
        try:
            answer = client.post(f"{self.url}/predict", json=self.question)
        except httpx.TransportError as exc:
            return type(exc).__name__
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text[:200]}"
        return None if scored(answer) == self.expected else f"another answer: {answer.text[:300]}"


def running() -> int:
    """How many replicas take requests."""
    states = serve.status().applications["default"].deployments["Miles"].replica_states
    return int(states.get("RUNNING", 0))


def replicas() -> dict[str, str]:
    """The node of each replica that is alive, by the replica's name."""
    alive = [actor for actor in ray._private.state.actors().values() if actor["State"] == "ALIVE"]
    named = {actor["Name"]: actor["Address"]["NodeID"] for actor in alive}
    return {name: node for name, node in named.items() if name.startswith("SERVE_REPLICA::")}


def until(holds: Callable[[], bool]) -> None:
    """Return once it holds; fails when it never does."""
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        assert time.monotonic() < deadline, serve.status()
        time.sleep(0.25)


def kill_replica() -> None:
    """End one replica's process as a crash would."""
    ray.kill(ray.get_actor(next(iter(replicas())), namespace="serve"))


def kill_node(cluster: Cluster, nodes: Sequence[Any]) -> None:
    """End a machine that has a replica, as a power cut would."""
    used = set(replicas().values())
    cluster.remove_node(next(node for node in nodes if node.node_id in used), allow_graceful=False)


def main(model: str, questions: str) -> dict[str, Any]:
    """What was seen."""
    os.environ |= {"MILES_CHECKPOINT": model, "MILES_MAX_BATCH_SIZE": "1", "MILES_LOG_LEVEL": "error"}
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    cluster = Cluster(
        initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "include_dashboard": False}
    )
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        began = time.monotonic()
        serve.run(of_one_core(REPLICAS), name="default")
        ready_s = time.monotonic() - began
        url = f"http://127.0.0.1:{port}"
        answers = [scored(httpx.post(f"{url}/predict", json=question, timeout=40)) for question in asked]
        loads = {}
        for name, hurt in (
            ("replica", kill_replica),
            ("node", lambda: kill_node(cluster, nodes)),
        ):
            load = Load(url, asked[0], answers[0])
            took = load.during(hurt)
            loads[name] = {
                "answered": load.answered,
                "retried": load.retried,
                "lost": load.lost,
                "full_capacity_s": round(took, 1),
            }
        health = httpx.get(f"{url}/health/ready", timeout=40).status_code
        return {"answers": answers, "ready_s": round(ready_s, 1), "health": health, **loads}
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


def of_one_core(count: int) -> serve.Application:
    """The app in so many replicas, no more and no fewer, of a core each."""
    deployment = app._bound_deployment.options(
        num_replicas=count, autoscaling_config=None, ray_actor_options={"num_cpus": 1}
    )
    return deployment.bind()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
