"""Mosec in front of the same engine: a server in Rust that batches for Python workers.

python -m benchmarks.peers.mosec_peer PORT
"""

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mosec import Server, Worker

from benchmarks.peers.same_engine import BATCH, WORKERS, Scorer

MAX_WAIT_MS = 2
TIMEOUT_MS = 60_000


class Videos(Worker):  # type: ignore[misc]  # the package has no type information
    """A worker with an engine."""

    def __init__(self) -> None:
        self.scorer = Scorer.from_environment()
        self.threads = ThreadPoolExecutor(BATCH)

    def deserialize(self, data: bytes) -> Any:
        return json.loads(data)

    def forward(self, data: Any) -> Any:
        """Prepare a batch, downloads side by side, then one forward; without batching it is one request."""
        requests: Sequence[Mapping[str, Any]] = data if isinstance(data, list) else [data]
        answers = self.scorer.score(list(self.threads.map(self.scorer.fetch_and_prepare, requests)))
        return answers if isinstance(data, list) else answers[0]

    def serialize(self, data: Any) -> bytes:
        return json.dumps(data).encode()


def main(port: int) -> None:
    # Its options are read from the command line.
    options = {"--address": "127.0.0.1", "--port": port, "--timeout": TIMEOUT_MS, "--log-level": "warning"}
    sys.argv[1:] = [str(word) for pair in options.items() for word in pair]
    server = Server()
    server.append_worker(
        Videos, num=WORKERS, max_batch_size=BATCH, max_wait_time=MAX_WAIT_MS, timeout=60, route="/predict"
    )
    server.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
