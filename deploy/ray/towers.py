"""The towers as deployments of Ray Serve, with replicas and cores of their own; ingress replicas ask them."""

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
from deploy.ray.tower import Step, Tower
from deploy.ray.tower_engine import AT_ONCE, TowerFullError, TowerLostError, TowersEngine
from model.compiled.bundle import Bundle
from model.engine import Vectors
from serving.errors import EngineFailedError
from serving.lifecycle.loading import EngineFactory
from serving.observability.metrics import configure_logging
from serving.scoring.batching import QueueClosedError
from serving.settings import Settings

# What a tower says to those who wait when it stops or hangs; Ray hands an exception on as a kind of it.
ENDED = (QueueClosedError, EngineFailedError)
CORES = 2
MOST_REPLICAS = 8
# A question has up to MILES_MAX_BATCH_SIZE videos: these are two full batches of waiting for each replica.
ONGOING = 16
# What is left of MILES_FORWARD_TIMEOUT_S, after which the one who asks would take its own forward for hung.
PART_OF_LIMIT = 0.8


class TowerReplica:
    """A tower as Ray Serve runs and asks after it."""

    async def __init__(self, step: Step) -> None:  # type: ignore[misc]  # Ray awaits it
        self._stack = AsyncExitStack()
        self._tower = await self._stack.enter_async_context(Tower.open(settle(CORES), step))

    async def encode(self, fingerprint: str, items: Any) -> Vectors | None:
        """The vectors of a caller's batch, which others' may be run with; None for another model's caller."""
        return await self._tower.encode(fingerprint, items)

    async def batches(self) -> dict[int, int]:
        """How many forwards there were, by how many videos they had."""
        return dict(self._tower.queue.batches)

    async def check_health(self) -> None:
        """Raises `RuntimeError` for a tower that is to be replaced."""
        if self._tower.problem:
            raise RuntimeError(self._tower.problem)


def settle(cores: int) -> Settings:
    """Bind a replica to the cores that Ray gave it, `cores` if it does not say; its settings."""
    given = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    take_cores(max(1, int(given.get("CPU", cores))))
    settings = Settings.from_environment()
    configure_logging(settings.log_format, settings.log_level)
    return settings


def engine_on(towers: Mapping[Step, DeploymentHandle[Any]], settings: Settings) -> EngineFactory:
    """What makes the engine of an ingress replica, and waits until the towers answer."""
    # From process to process by gRPC, which costs less than an object of Ray's for each question.
    encode = {
        step: handle.options(method_name="encode", _by_reference=False) for step, handle in towers.items()
    }
    ask = {step: partial(_ask, handle) for step, handle in encode.items()}
    limit_s = settings.forward_timeout_s * PART_OF_LIMIT

    def build(bundle: Bundle, threads: int) -> TowersEngine:
        engine = TowersEngine(bundle, threads, ask, limit_s)
        engine.wait()
        return engine

    return build


def _ask(encode: DeploymentHandle[Any], fingerprint: str, items: Any, timeout_s: float) -> Vectors | None:
    response = encode.remote(fingerprint, items)
    try:
        vectors: Vectors | None = response.result(timeout_s=timeout_s)
    except TimeoutError:
        response.cancel()  # type: ignore[no-untyped-call]
        raise
    except BackPressureError as exc:
        raise TowerFullError(str(exc)) from exc
    except (RayActorError, ReplicaUnavailableError, *ENDED) as exc:
        raise TowerLostError(str(exc)) from exc
    return vectors


def deployed(name: str) -> serve.Deployment:
    """A tower's deployment, to be bound to its step."""
    make = serve.deployment(
        name=name,
        ray_actor_options={"num_cpus": CORES},
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": MOST_REPLICAS,
            "target_ongoing_requests": AT_ONCE / 2,
        },
        max_ongoing_requests=ONGOING,
        max_queued_requests=AT_ONCE,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=22,
        logging_config={"enable_access_log": False},  # the request that a question is for has its line
    )
    return make(TowerReplica)
