"""LitServe in front of the same engine, with its batching.

    python -m benchmarks.peers.litserve_peer PORT

`batch` downloads in a pool of threads, because `decode_request` is called for one item after another.
A timeout of 0 would spin on an empty queue and take a core from the engine; 2 ms fills batches under load.
"""

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import litserve

from benchmarks.peers.same_engine import BATCH, WORKERS, Prepared, Scorer

BATCH_TIMEOUT_S = 0.002


class VideoAPI(litserve.LitAPI):  # type: ignore[misc]  # the package has no type information
    """A worker with an engine."""

    def setup(self, device: str) -> None:  # noqa: ARG002  LitServe's signature
        self.scorer = Scorer.from_environment()
        self.threads = ThreadPoolExecutor(BATCH)

    def decode_request(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        return request

    def batch(self, inputs: Sequence[Mapping[str, Any]]) -> list[Prepared]:
        return list(self.threads.map(self.scorer.fetch_and_prepare, inputs))

    def predict(self, x: Sequence[Prepared]) -> list[dict[str, float]]:
        return self.scorer.score(x)

    def unbatch(self, output: list[dict[str, float]]) -> list[dict[str, float]]:
        return output

    def encode_response(self, output: dict[str, float]) -> dict[str, float]:
        return output


def main(port: int) -> None:
    api = VideoAPI(max_batch_size=BATCH, batch_timeout=BATCH_TIMEOUT_S)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=WORKERS)
    server.run(
        host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="warning"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
