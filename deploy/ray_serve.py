"""The service on Ray Serve: the same app in as many replicas as there are cores, on one machine or many.

    serve run deploy.ray_serve:app               one machine, http://127.0.0.1:8000
    serve deploy deploy/ray/serve.yaml           a cluster

A replica is the whole service, towers, queues, limits and cache, bound to cores of its own; Ray decides which
replica gets a request, how many there are, and what becomes of one that is not well. So there is one
implementation of scoring. MILES_ settings hold in every replica, but for MILES_HOST and MILES_PORT: the proxy
listens. A replica takes requests once it is ready as `/health/ready` means it, and is replaced when it no
longer is.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody

import ray
from ray import serve

from app import create_app
from deploy.cores import take_cores
from serving.predictor import HEALTHY, Predictor
from serving.settings import Settings
from serving.telemetry import configure_logging

CORES = 2
# Ray's own limits stand behind ours, which say when to come back: it hands a replica more than the default of
# MILES_MAX_QUEUE_SIZE lets in, so that the replica is what refuses.
ONGOING = 400
QUEUED = 1000
RETRY_AFTER_S = 2
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Replica:
    """The app as plain ASGI under Ray, which knows of a lifespan but not of what it hands to requests."""

    def __init__(self) -> None:
        cores = ray.get_runtime_context().get_assigned_resources().get("CPU", CORES)
        take_cores(max(1, int(cores)))
        settings = Settings.from_environment()
        configure_logging(settings.log_format, settings.log_level)
        self._app = create_app(settings)
        self._state: dict[str, Any] = {}

    @property
    def problem(self) -> str | None:
        """Why this replica should get no requests, None when all is well."""
        predictor: Predictor | None = self._state.get("predictor")
        if predictor is None:
            return "not started"
        return None if predictor.status == HEALTHY else predictor.status

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request with what the lifespan opened; it has begun once the model is loaded or cannot be.

        `Miles.check_health` then says, before the first request: what a lifespan raises, Ray keeps to itself.
        """
        if scope["type"] != "lifespan":
            await self._app({**scope, "state": dict(self._state)}, receive, send)
            return
        self._state = scope["state"]

        async def send_when_ready(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._loaded()
            await send(message)

        await self._app(scope, receive, send_when_ready)

    async def _loaded(self) -> None:
        while self.problem == "loading":  # noqa: ASYNC110  it says that it is ready to whoever asks, as a probe does
            await asyncio.sleep(0.05)


def _replica() -> Replica:
    return Replica()  # in the process that runs it, not where it is deployed from


class Miles:
    """A replica as Ray Serve asks after it; `app` is the ASGI app that Serve adds."""

    app: Replica

    async def check_health(self) -> None:
        """Raises `RuntimeError` for a replica that is to be replaced."""
        if problem := self.app.problem:
            raise RuntimeError(problem)


app = serve.deployment(
    serve.ingress(_replica)(Miles),
    name="Miles",
    ray_actor_options={"num_cpus": CORES},
    autoscaling_config={"min_replicas": 1, "max_replicas": 1, "target_ongoing_requests": 16},
    max_ongoing_requests=ONGOING,
    max_queued_requests=QUEUED,
    backpressure_config={"status_code": 503, "retry_after_s": RETRY_AFTER_S},
    health_check_period_s=2,
    health_check_timeout_s=10,
    graceful_shutdown_timeout_s=22,  # as plain Miles gives requests in flight after SIGTERM
).bind()
