"""Ray on this machine: one node, or several nodes that share the loopback interface.

python -m tests.scale.local_ray CORES     prints its address, and lasts until its standard input ends
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray's name for: only the loopback interface
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray import serve
from ray.cluster_utils import Cluster

from tests.support import process
from tests.support.service import free_port

STORE_BYTES = 80 * 1024 * 1024
NODE: dict[str, Any] = {"object_store_memory": STORE_BYTES, "node_ip_address": "127.0.0.1"}


@contextmanager
def local_ray(cores: int) -> Iterator[None]:
    """One node with `cores` cores, as Ray counts them."""
    ray.init(
        "local",
        include_dashboard=False,
        num_cpus=cores,
        object_store_memory=STORE_BYTES,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def serving_cluster(add_nodes: Callable[[Cluster], None], **options: Any) -> Iterator[tuple[Cluster, str]]:
    """A cluster whose head has no cores for replicas, after `add_nodes`; with the URL of Ray Serve's proxy.

    `options` are those of `serve.start`.
    """
    head = {**NODE, "num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    add_nodes(cluster)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        port = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": port}, **options)
        yield cluster, f"http://127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


def running(deployment: str) -> int:
    states = serve.status().applications["default"].deployments[deployment].replica_states
    return int(states.get("RUNNING", 0))


def until(holds: Callable[[], bool]) -> None:
    """Return once it holds; fails with Ray Serve's status when it never does."""
    process.until(holds, lambda: str(serve.status()))


if __name__ == "__main__":
    with local_ray(int(sys.argv[1])):
        print(ray.get_runtime_context().gcs_address, flush=True)
        sys.stdin.read()
