"""The service on Ray Serve: the same app in as many replicas as there are cores, on one machine or many.

    serve run deploy.ray_serve:app               one machine, http://127.0.0.1:8000
    serve run deploy.ray_serve:towers            the same with towers apart, on five cores or more
    serve deploy deploy/ray/serve.yaml           a cluster

Of `app` a replica is the whole service, towers, queues, limits and cache, bound to cores of its own; of
`towers` it is all but the two towers, which are deployments by themselves. Ray decides which replica gets a
request, how many there are, and what becomes of one that is not well. So there is one implementation of
scoring. MILES_ settings hold in every replica, but for MILES_HOST and MILES_PORT: the proxy listens. A
replica takes requests once it is ready as `/health/ready` means it, and is replaced when it no longer is.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody

from ray import serve
from ray.serve.handle import DeploymentHandle

from app import create_app
from deploy.ray.tower import require_bundle
from deploy.ray.towers import deployed, engine_on, settle
from serving.lifecycle.loading import EngineFactory, in_process_engine
from serving.lifecycle.predictor import HEALTHY, Predictor
from serving.settings import Settings

CORES = 2
INGRESS_CORES = 1
MOST_INGRESSES = 4
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

    def __init__(self, settings: Settings, engine_factory: EngineFactory = in_process_engine) -> None:
        self._app = create_app(settings, engine_factory=engine_factory)
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
    return Replica(settle(CORES))  # in the process that runs it, not where it is deployed from


class Miles:
    """A replica as Ray Serve asks after it; `app` is the ASGI app that Serve adds."""

    app: Replica

    async def check_health(self) -> None:
        """Raises `RuntimeError` for a replica that is to be replaced."""
        if problem := self.app.problem:
            raise RuntimeError(problem)


class Ingress(Miles):
    """All of the service but its towers, which it asks."""

    def __init__(self, text: DeploymentHandle[Any], image: DeploymentHandle[Any]) -> None:
        self._text, self._image = text, image

    def __serve_build_asgi_app__(self) -> Replica:
        settings = settle(INGRESS_CORES)
        require_bundle(settings)
        return Replica(settings, engine_on({"text": self._text, "image": self._image}, settings))


def _public(name: str, cores: int, most_replicas: int) -> Callable[[type], serve.Deployment]:
    """What makes a deployment of a class whose replicas answer requests."""
    make: Callable[[type], serve.Deployment] = serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": cores},
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": most_replicas,
            "target_ongoing_requests": 16,
        },
        max_ongoing_requests=ONGOING,
        max_queued_requests=QUEUED,
        backpressure_config={"status_code": 503, "retry_after_s": RETRY_AFTER_S},
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=22,  # as plain Miles gives requests in flight after SIGTERM
    )
    return make


app = _public("Miles", CORES, 1)(serve.ingress(_replica)(Miles)).bind()
text_tower, image_tower = deployed("TextTower"), deployed("ImageTower")
ingress = _public("Miles", INGRESS_CORES, MOST_INGRESSES)(serve.ingress()(Ingress))
towers = ingress.bind(text_tower.bind("text"), image_tower.bind("image"))
