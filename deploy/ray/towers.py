"""The towers as deployments of Ray Serve, with their own replicas and cores; ingress replicas call them."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle

from deploy.cores import take_cores
from deploy.ray.tower import TowerServer
from deploy.ray.tower_engine import BATCHES_AT_ONCE, TowerFullError, TowerLostError, TowersEngine
from model.compiled.bundle import Bundle
from model.engine import Vectors
from serving.errors import EngineFailedError
from serving.lifecycle.loading import EngineFactory
from serving.observability.logs import configure_logging
from serving.scoring.batching import QueueClosedError
from serving.scoring.towers import TowerName
from serving.settings import Settings

# What waiting callers get when a tower stops or hangs; Ray raises a subclass of it in the caller.
TOWER_ENDED = (QueueClosedError, EngineFailedError)
CORES = 2
MAX_REPLICAS = 8
# A call has up to MILES_MAX_BATCH_SIZE videos: two full batches wait at each replica.
MAX_ONGOING = 16
# The rest of MILES_FORWARD_TIMEOUT_S is left to the caller, which would otherwise treat its forward as hung.
TIMEOUT_SHARE = 0.8
# The same for every deployment; the shutdown is as long as a plain service gives requests after SIGTERM.
HEALTH: dict[str, Any] = {
    "health_check_period_s": 2,
    "health_check_timeout_s": 10,
    "graceful_shutdown_timeout_s": 22,
}


class TowerReplica:
    """A tower as Ray Serve runs it and checks its health."""

    async def __init__(self, name: TowerName) -> None:  # type: ignore[misc]  # Ray awaits it
        self._stack = AsyncExitStack()
        self._server = await self._stack.enter_async_context(TowerServer.open(settle(CORES), name))

    async def encode(self, fingerprint: str, items: Any) -> Vectors | None:
        """The vectors of a caller's batch; None if the caller serves another model."""
        return await self._server.encode(fingerprint, items)

    async def batches(self) -> dict[int, int]:
        """The number of forwards by batch size."""
        return dict(self._server.tower.queue.batches)

    async def check_health(self) -> None:
        """Raises `RuntimeError` for a tower that should be replaced."""
        if self._server.problem:
            raise RuntimeError(self._server.problem)


def settle(cores: int) -> Settings:
    """Bind a replica to the cores that Ray assigned, `cores` if it assigned none; returns its settings."""
    given = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    take_cores(max(1, int(given.get("CPU", cores))))
    settings = Settings.from_environment()
    configure_logging(settings.log_format, settings.log_level)
    return settings


def engine_on(towers: Mapping[TowerName, DeploymentHandle[Any]], settings: Settings) -> EngineFactory:
    """A factory of an ingress replica's engine, which waits until the towers are ready."""
    # From process to process by gRPC, which costs less than a Ray object for each call.
    options: dict[str, Any] = {"method_name": "encode", "_by_reference": False}
    calls = {name: partial(_call, handle.options(**options)) for name, handle in towers.items()}

    def build(bundle: Bundle, threads: int) -> TowersEngine:
        engine = TowersEngine(bundle, threads, calls, settings.forward_timeout_s * TIMEOUT_SHARE)
        engine.wait_until_ready()
        return engine

    return build


def _call(encode: DeploymentHandle[Any], fingerprint: str, items: Any, timeout_s: float) -> Vectors | None:
    response = encode.remote(fingerprint, items)
    try:
        vectors: Vectors | None = response.result(timeout_s=timeout_s)
    except TimeoutError:
        response.cancel()  # type: ignore[no-untyped-call]
        raise
    except BackPressureError as exc:
        raise TowerFullError(str(exc)) from exc
    except (RayActorError, ReplicaUnavailableError, *TOWER_ENDED) as exc:
        raise TowerLostError(str(exc)) from exc
    return vectors


def deployed(name: str) -> serve.Deployment:
    """A tower's deployment, to be bound to the tower's name."""
    make = serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": CORES},
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": MAX_REPLICAS,
            "target_ongoing_requests": BATCHES_AT_ONCE / 2,
        },
        max_ongoing_requests=MAX_ONGOING,
        max_queued_requests=BATCHES_AT_ONCE,
        logging_config={"enable_access_log": False},  # the ingress logs the request
        **HEALTH,
    )
    return make(TowerReplica)
