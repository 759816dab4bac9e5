"""BentoML in front of the same engine, with its adaptive batching.

    python -m benchmarks.peers.bentoml_peer PORT

A batchable endpoint takes a list on the wire, so the load generator sends the same JSON in brackets. The
documented alternative, a second service in front, would add a process and a hop.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bentoml

from benchmarks.peers.same_engine import BATCH, WORKERS, Scorer

MAX_LATENCY_MS = 60_000  # BentoML's default; no request is dropped for waiting too long


@bentoml.service(
    workers=WORKERS,
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Videos:
    """A worker with an engine."""

    def __init__(self) -> None:
        self.scorer = Scorer.from_environment()
        self.threads = ThreadPoolExecutor(BATCH)

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=MAX_LATENCY_MS)  # type: ignore[untyped-decorator]
    def predict(self, videos: list[dict[str, Any]], /) -> list[dict[str, float]]:
        """Prepare a batch, downloads side by side, then one forward."""
        return self.scorer.score(list(self.threads.map(self.scorer.fetch_and_prepare, videos)))


def main(port: int) -> None:
    """Become BentoML's own command, which is how its documentation serves a class."""
    service = "benchmarks.peers.bentoml_peer:Videos"
    command = [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "True"}
    os.execve(sys.executable, command, environment)  # noqa: S606  a list, no shell


if __name__ == "__main__":
    main(int(sys.argv[1]))
