"""Miles without its guards, to measure what safety and monitoring cost an ordinary request.

    python -m benchmarks.peers.unguarded PORT

The same routes, schemas, fetcher, queues and engine. Left out are every middleware (request ids, log lines,
limits, keys, admission, disconnects), timeouts for slow clients, metrics and drift statistics, and the
decoding processes: images are decoded in threads.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from app import create_app
from preprocessing.image import Decoded, ImageLimits, ImageSpec
from preprocessing.pixels import read_picture
from serving.observability.logs import configure_logging
from serving.observability.metrics import Metrics
from serving.scoring import pipeline
from serving.scoring.warnings import DriftWindow
from serving.settings import Settings


class DecodeThreads:
    """Decodes as `DecodePool` does, in threads: a picture that takes endless work occupies one forever."""

    lost = 0

    def __init__(self, spec: ImageSpec, limits: ImageLimits, workers: int) -> None:
        self._spec, self._limits = spec, limits
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._threads.shutdown(wait=False)

    async def ready(self) -> None:
        """Threads need no start."""

    async def decode(self, encoded: bytes) -> Decoded:
        """What `read_picture` gives for this file, and its errors."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, read_picture, encoded, self._spec, self._limits)


class Deadline:
    """The one thing that the routes need from the middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, without a deadline."""
        scope["deadline"] = None
        await self._app(scope, receive, send)


def create_unguarded(settings: Settings) -> ASGIApp:
    """The app without its guards; patches modules, so it needs a process of its own."""
    pipeline.DecodePool = DecodeThreads  # type: ignore[assignment,attr-defined]
    Metrics.count_prediction = lambda *_: None  # type: ignore[method-assign]
    DriftWindow.observe = lambda *_: None  # type: ignore[method-assign]
    app = create_app(settings)
    app.user_middleware.clear()
    return Deadline(app)


if __name__ == "__main__":
    chosen = Settings.from_environment()
    configure_logging(chosen.log_format, chosen.log_level)
    uvicorn.run(create_unguarded(chosen), host=chosen.host, port=int(sys.argv[1]), ws="none", log_config=None)
