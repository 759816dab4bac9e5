"""One tower of a model by itself, for the services that ask it for vectors. Knows neither HTTP nor Ray.

Queue, batching and supervision are those of the whole service.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Self

import numpy as np

from model.compiled.bundle import Bundle
from model.compiled.engine import OpenVinoEngine
from model.engine import Vectors
from serving.lifecycle.loading import EngineFactory, load_model
from serving.lifecycle.supervision import Supervisor
from serving.scoring.batching import QueueClosedError
from serving.scoring.cache import VectorCache
from serving.scoring.towers import FACTS, Tower, TowerName, decoded_of, image_tower, text_tower
from serving.settings import Settings, SettingsError


class TowerServer:
    """Computes vectors for services that serve the same model."""

    def __init__(self, tower: Tower[Any], supervisor: Supervisor) -> None:
        self.tower = tower
        self._supervisor = supervisor

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, name: TowerName, engine_factory: EngineFactory | None = None
    ) -> AsyncIterator[Self]:
        """A tower that has passed a probe. Raises `CheckpointError`, `LocationError` or `SettingsError`."""
        require_bundle(settings)
        load = partial(load_model, settings, engine_factory or partial(_engine_of, name))
        with ThreadPoolExecutor(1, thread_name_prefix="forward") as forward:
            model = await asyncio.get_running_loop().run_in_executor(forward, load)
            make = text_tower if name == "text" else image_tower
            tower: Tower[Any] = make(model, VectorCache(0), forward, settings.max_batch_size)
            supervisor = Supervisor({name: tower.queue}, tower.probe, settings.forward_timeout_s)
            async with tower.queue, supervisor:
                await tower.probe()
                yield cls(tower, supervisor)

    @property
    def problem(self) -> str | None:
        """Why this tower should be replaced; None while it works."""
        return self._supervisor.fault

    async def encode(self, fingerprint: str, items: Sequence[Any]) -> Vectors | None:
        """Vectors of texts (ids, types) or pixels, (B, dim) in order; None if the caller has another model.

        Raises what a forward raised.
        """
        if fingerprint != self.tower.model.fingerprint:
            return None
        spec = self.tower.model.image_spec if self.tower.name == "image" else None
        if spec is not None:
            items = decoded_of(items, spec)
        try:
            ran = await asyncio.gather(*map(self.tower.queue.submit, items))
        except QueueClosedError:
            raise
        except Exception:
            self._supervisor.report_failure()
            raise
        vectors = np.stack([each.result for each in ran])
        if spec is not None:
            vectors = vectors[:, :-FACTS]  # the caller has read the files and knows the facts
        if not np.isfinite(vectors).all():
            self._supervisor.report_failure()  # the caller rejects the row
        return vectors


def require_bundle(settings: Settings) -> None:
    """Raises `SettingsError` for an engine whose towers cannot be deployed separately."""
    if settings.engine != "openvino":
        raise SettingsError(
            f"MILES_ENGINE={settings.engine}: separate towers need a compiled bundle. Unset MILES_ENGINE, or "
            "serve the whole model in each replica (deploy.ray_serve:app)."
        )


def _engine_of(name: TowerName, bundle: Bundle, threads: int) -> OpenVinoEngine:
    engine = OpenVinoEngine(bundle, threads, (name,))
    engine.warm_up()
    return engine
