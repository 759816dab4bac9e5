"""The cost of a video with separate towers and with whole replicas, in one run; prints CPU time as JSON.

    python -m tests.scale.tower_cost BUNDLE     in a process of its own

Both are served at once and asked in turn, so that any other load on the machine affects both. Both have the
same number of replicas that take requests; the separate towers are one text and one image tower behind them.
"""

import base64
import json
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import ray
from ray import serve

from deploy.ray_serve import app, image_tower, ingress, text_tower
from tests.scale.local_ray import local_ray
from tests.support.service import free_port
from tests.support.thumbnail_host import picture

REPLICAS = 3
CLIENTS = {"a request at a time": REPLICAS, "four at a time": 4 * REPLICAS}  # for each replica
ROUNDS = 4
VIDEOS = 48  # of a round
PATIENCE_S = 60.0


def targets(bundle: str) -> list[serve.RunTarget]:
    variables = {"MILES_CHECKPOINT": bundle, "MILES_CACHE_BYTES": "0", "MILES_LOG_LEVEL": "error"}
    actor = {"num_cpus": 1, "runtime_env": {"env_vars": variables}}

    def of(deployment: serve.Deployment, count: int) -> serve.Deployment:
        return deployment.options(num_replicas=count, autoscaling_config=None, ray_actor_options=actor)

    text, image = of(text_tower, 1).bind("text"), of(image_tower, 1).bind("image")
    return [
        serve.RunTarget(of(app._bound_deployment, REPLICAS).bind(), name="whole", route_prefix="/whole"),
        serve.RunTarget(of(ingress, REPLICAS).bind(text, image), name="apart", route_prefix="/apart"),
    ]


def cpu_seconds(name: str) -> float:
    """Processor time so far of an application's replicas and their decoders."""
    actors = ray._private.state.actors().values()
    ours = [
        psutil.Process(actor["Pid"])
        for actor in actors
        if actor["State"] == "ALIVE" and actor["Name"].startswith(f"SERVE_REPLICA::{name}#")
    ]
    assert len(ours) == REPLICAS + 2 * (name == "apart"), f"{name} has {len(ours)} replicas"
    times = [each.cpu_times() for one in ours for each in (one, *one.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def score(url: str, clients: int, videos: list[dict[str, Any]]) -> None:
    """Score each video once with `clients` clients; fails for any answer but a 200 with its picture used."""

    def ask(video: Mapping[str, Any]) -> None:
        answer = httpx.post(f"{url}/predict", json=video, timeout=PATIENCE_S).raise_for_status()
        assert answer.json()["modalities"]["image"]["state"] == "used", answer.text

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, videos))


def seen(url: str) -> dict[str, Any]:
    """Milliseconds of processor time per video, by number of clients and way of serving; sizes of batches."""
    pictures = [
        f"data:image/jpeg;base64,{base64.b64encode(picture(seed)).decode()}" for seed in range(VIDEOS)
    ]
    videos = [
        {"title": f"I tried {seed} viral pasta hacks for a whole week", "thumbnail_url": pictures[seed]}
        for seed in range(VIDEOS)
    ]
    spent = {load: Counter[str]() for load in CLIENTS}
    for name in ("whole", "apart"):
        score(f"{url}/{name}", 2 * REPLICAS, videos)
    for load, clients in CLIENTS.items():
        for _ in range(ROUNDS):
            for name in ("whole", "apart"):
                before = cpu_seconds(name)
                score(f"{url}/{name}", clients, videos)
                spent[load][name] += cpu_seconds(name) - before
    return {
        load: {name: 1000 * seconds / (ROUNDS * VIDEOS) for name, seconds in row.items()}
        for load, row in spent.items()
    }


def main(bundle: str) -> dict[str, Any]:
    with local_ray(3 * REPLICAS):
        try:
            port = free_port()
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            serve.run_many(targets(bundle))
            return seen(f"http://127.0.0.1:{port}")
        finally:
            serve.shutdown()


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
