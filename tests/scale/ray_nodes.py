"""A Ray cluster of three nodes that is operated with Ray's own `serve`.

    python -m tests.scale.ray_nodes PORT      in a process of its own, until its standard input ends

The nodes share this machine and its loopback interface, which `ray start` would leave for a second node. The
first has no cores for replicas.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.scale.ray_here import ray_environment
from tests.support.process import completed
from tests.support.service import ROOT, free_port

COMMANDS = Path(sys.executable).parent
CORES = 4  # of each node but the first, as Ray counts them
STORE_BYTES = 80 * 1024 * 1024
LIMIT_S = 90.0
UP = b"up\n"


@dataclass(frozen=True)
class RayNodes:
    """A running cluster: the address of its dashboard, and the environment of programs that use it."""

    dashboard: str
    variables: dict[str, str]
    log: Path

    def serve(self, *arguments: str | Path) -> str:
        """The output of Ray's `serve`; fails when it fails."""
        ran = completed([COMMANDS / "serve", *arguments, "--address", self.dashboard], env=self.variables)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def application(self) -> dict[str, Any]:
        token = self.variables["RAY_AUTH_TOKEN"]
        answer = httpx.get(
            f"{self.dashboard}/api/serve/applications/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=LIMIT_S,
        )
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["applications"].get("miles", {})
        return found

    def replicas(self) -> int:
        found = self.application()["deployments"].get("Miles", {"replicas": []})
        return sum(replica["state"] == "RUNNING" for replica in found["replicas"])

    def deploy(self, config: Path, ends: str) -> tuple[float, int]:
        """`serve deploy`, until the application's status is `ends`.

        How long that took, in seconds, and how many replicas took requests when they were fewest.
        """
        before, began = self.application().get("last_deployed_time_s"), time.monotonic()
        self.serve("deploy", config)
        self.until(lambda: self.application().get("last_deployed_time_s", before) != before)
        seen = []

        def is_over() -> bool:
            seen.append(self.replicas())
            return self.application()["status"] != "DEPLOYING"

        self.until(is_over)
        assert self.application()["status"] == ends, self.application()
        return time.monotonic() - began, min(seen)

    def until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not holds():
            assert time.monotonic() < deadline, (self.application(), self.log.read_text(encoding="utf-8"))
            time.sleep(0.25)


@contextmanager
def started_nodes(log: Path) -> Iterator[RayNodes]:
    """Three nodes; at the end they and everything that they started are stopped."""
    port = free_port()
    with ray_environment(log_level="error", max_batch_size=1) as variables, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.scale.ray_nodes", str(port)],
            cwd=ROOT,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            nodes = RayNodes(f"http://127.0.0.1:{port}", variables, log)
            nodes.until(lambda: _is_up(nodes))
            yield nodes
        finally:
            process.communicate(timeout=LIMIT_S)


def _is_up(nodes: RayNodes) -> bool:
    try:
        return nodes.log.read_bytes().endswith(UP) and nodes.application() == {}
    except httpx.TransportError:
        return False


def main(port: int) -> None:
    """Start the nodes, the first with its dashboard at `port`, and stop them when standard input ends."""
    from ray.cluster_utils import Cluster

    node = {"object_store_memory": STORE_BYTES, "node_ip_address": "127.0.0.1"}
    head = {"num_cpus": 0, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    cluster = Cluster(initialize_head=True, head_node_args=node | head)
    for _ in range(2):
        own = {"RAY_SERVE_WORKER_PROXY_HTTP_PORT": str(free_port())}  # the nodes share an address
        cluster.add_node(**node, num_cpus=CORES, env_vars=own)
    sys.stdout.buffer.write(UP)
    sys.stdout.flush()
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]))
