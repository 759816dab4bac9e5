"""The service on Ray Serve: the same app in several replicas, on one machine or a cluster.

    serve run deploy.ray_serve:app               one machine, http://127.0.0.1:8000
    serve run deploy.ray_serve:towers            the same with separate towers, on five cores or more
    serve deploy deploy/ray/serve.yaml           a cluster

A replica of `app` is the whole service, with its towers, queues, limits and cache, bound to its own cores. A
replica of `towers` is the service without its two towers, which are separate deployments. Ray routes, scales
and replaces; scoring is implemented once. The MILES_ settings apply to every replica, except
MILES_HOST and MILES_PORT, since Ray's proxy listens. A replica gets requests once `/health/ready` would be
200, and is replaced when it would no longer be.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent

from ray import serve
from ray.serve.handle import DeploymentHandle

from app import create_app
from deploy.ray.tower import require_bundle
from deploy.ray.towers import HEALTH, deployed, engine_on, settle
from serving.lifecycle.loading import EngineFactory, in_process_engine, load_checked
from serving.lifecycle.predictor import HEALTHY, Predictor
from serving.settings import Settings

CORES = 2
INGRESS_CORES = 1
MAX_INGRESSES = 4
# Above the default of MILES_MAX_QUEUE_SIZE, so that the replica refuses first and can say when to retry.
MAX_ONGOING = 400
MAX_QUEUED = 1000
RETRY_AFTER_S = 2
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Replica:
    """The app as an ASGI app for Ray, which runs a lifespan but does not pass its state on to requests."""

    def __init__(self, settings: Settings, engine_factory: EngineFactory = in_process_engine) -> None:
        self._app = create_app(settings, load=partial(load_checked, engine_factory=engine_factory))
        self._state: dict[str, Any] = {}

    @property
    def problem(self) -> str | None:
        """Why this replica should get no requests; None when it is healthy."""
        predictor: Predictor | None = self._state.get("predictor")
        if predictor is None:
            return "not started"
        return None if predictor.status == HEALTHY else predictor.status

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request. The lifespan's startup completes when the model is loaded, or cannot be.

        A failed load is reported by `Miles.check_health`: Ray does not show what a lifespan raises.
        """
        if scope["type"] != "lifespan":
            await self._app({**scope, "state": dict(self._state)}, receive, send)
            return
        self._state = scope["state"]

        async def send_when_ready(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                while self.problem == "loading":  # noqa: ASYNC110  polled, as by a readiness probe
                    await asyncio.sleep(0.05)
            await send(message)

        await self._app(scope, receive, send_when_ready)


def _replica() -> Replica:
    return Replica(settle(CORES))  # called in the replica's process, not where it is deployed from


class Miles:
    """A replica as Ray Serve checks its health; `app` is the ASGI app that Serve adds."""

    app: Replica

    async def check_health(self) -> None:
        """Raises `RuntimeError` for a replica that should be replaced."""
        if problem := self.app.problem:
            raise RuntimeError(problem)


class Ingress(Miles):
    """The service without its towers, which it calls."""

    def __init__(self, text: DeploymentHandle[Any], image: DeploymentHandle[Any]) -> None:
        self._text, self._image = text, image

    def __serve_build_asgi_app__(self) -> Replica:
        settings = settle(INGRESS_CORES)
        require_bundle(settings)
        return Replica(settings, engine_on({"text": self._text, "image": self._image}, settings))


def _public(cores: int, max_replicas: int) -> Callable[[type], serve.Deployment]:
    """A decorator that makes a class a deployment whose replicas answer requests."""
    make: Callable[[type], serve.Deployment] = serve.deployment(
        name="Miles",
        ray_actor_options={"num_cpus": cores},
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": max_replicas,
            "target_ongoing_requests": 16,
        },
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=MAX_QUEUED,
        backpressure_config={"status_code": 503, "retry_after_s": RETRY_AFTER_S},
        **HEALTH,
    )
    return make


app = _public(CORES, 1)(serve.ingress(_replica)(Miles)).bind()
text_tower, image_tower = deployed("TextTower"), deployed("ImageTower")
ingress = _public(INGRESS_CORES, MAX_INGRESSES)(serve.ingress()(Ingress))
towers = ingress.bind(text_tower.bind("text"), image_tower.bind("image"))
