"""Ray Serve in front of the same engine, with its batching.

python -m benchmarks.peers.ray_peer PORT
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.same_engine import BATCH, WORKERS, Scorer

MAX_ONGOING = 64
BATCH_TIMEOUT_S = 0.002


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=MAX_ONGOING, ray_actor_options={"num_cpus": 0})
class Videos:
    """A replica with an engine."""

    def __init__(self) -> None:
        self.scorer = Scorer.from_environment()
        self.downloads, self.forward = ThreadPoolExecutor(BATCH), ThreadPoolExecutor(1)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=BATCH_TIMEOUT_S)
    async def score(self, requests: list[Mapping[str, Any]]) -> list[dict[str, float]]:
        """Prepare a batch, downloads side by side, then one forward, both off the event loop."""
        loop = asyncio.get_running_loop()
        prepare = self.scorer.fetch_and_prepare
        prepared = await asyncio.gather(
            *(loop.run_in_executor(self.downloads, prepare, request) for request in requests)
        )
        return await loop.run_in_executor(self.forward, self.scorer.score, prepared)

    async def __call__(self, request: Request) -> dict[str, float]:
        answer: dict[str, float] = await self.score(await request.json())
        return answer


def main(port: int) -> None:
    names = {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}
    ray.init(include_dashboard=False, configure_logging=False, runtime_env={"env_vars": names})
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Videos.bind(), route_prefix="/predict")  # type: ignore[attr-defined]  # the decorator's
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(int(sys.argv[1]))
