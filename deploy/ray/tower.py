"""One tower of a model alone, for several services that ask it for vectors. Knows neither HTTP nor Ray.

Whatever its callers sent while a forward ran is the next batch, as in the single process: the queue, the
watchdog and the doubt are the same.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal, Self

import numpy as np

from model.compiled.bundle import Bundle
from model.compiled.engine import OpenVinoEngine
from model.engine import Vectors
from serving.lifecycle.loading import load_model
from serving.lifecycle.supervision import Supervisor
from serving.scoring.batching import BatchingQueue, QueueClosedError
from serving.scoring.model import LoadedModel
from serving.scoring.towers import GREY, Vector
from serving.settings import Settings, SettingsError

Step = Literal["text", "image"]


class Tower:
    """Computes vectors for whoever serves the same model, and for nobody else."""

    def __init__(self, model: LoadedModel, step: Step, forward: Executor, settings: Settings) -> None:
        self.model = model
        self._step = step
        run, length = (self._run_texts, _tokens) if step == "text" else (self._run_images, _one)
        self.queue = BatchingQueue[Any, Vector](run, forward, settings.max_batch_size, length=length)
        self._supervisor = Supervisor({step: self.queue}, self.probe, settings.forward_timeout_s)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, step: Step) -> AsyncIterator[Self]:
        """A tower that has answered once. Raises `CheckpointError`, `LocationError` or `SettingsError`."""
        require_bundle(settings)
        with ThreadPoolExecutor(1, thread_name_prefix="forward") as forward:
            load = partial(load_model, settings, partial(_alone, step))
            model = await asyncio.get_running_loop().run_in_executor(forward, load)
            tower = cls(model, step, forward, settings)
            async with tower.running():
                await tower.probe()
                yield tower

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve the queue, and look after it."""
        async with self.queue, self._supervisor:
            yield

    @property
    def problem(self) -> str | None:
        """Why this tower should be replaced; None while it works."""
        return self._supervisor.fault

    async def encode(self, fingerprint: str, items: Sequence[Any]) -> Vectors | None:
        """The vectors of texts (ids, types) or of pixels, (B, dim) in order; None for another model's caller.

        Raises what a forward raised.
        """
        if fingerprint != self.model.fingerprint:
            return None
        try:
            ran = await asyncio.gather(*map(self.queue.submit, items))
        except QueueClosedError:
            raise
        except Exception:
            self._supervisor.report_failure()
            raise
        vectors = np.stack([one.result for one in ran])
        if not np.isfinite(vectors).all():
            self._supervisor.report_failure()  # the caller rejects the row
        return vectors

    async def probe(self) -> None:
        """Run a forward. Raises what it raised, or `FloatingPointError`."""
        ran = await self.queue.submit(self._question())
        if not np.isfinite(ran.result).all():
            raise FloatingPointError(f"the {self._step} tower gave a vector that holds what is no number")

    def _question(self) -> Any:
        if self._step == "text":
            tokens = self.model.tokenizer.encode("a video", "")
            return tokens.input_ids, tokens.token_type_ids
        spec = self.model.image_spec
        shape = (spec.height, spec.width, 3) if spec else (0, 0, 3)
        return np.full(shape, GREY, dtype=np.uint8)

    def _run_texts(self, texts: Sequence[Any]) -> list[Vector]:
        return list(self.model.engine.encode_text([ids for ids, _ in texts], [types for _, types in texts]))

    def _run_images(self, images: Sequence[Any]) -> list[Vector]:
        return list(self.model.engine.encode_image(np.stack(images)))


def require_bundle(settings: Settings) -> None:
    """Raises `SettingsError` for an engine whose towers cannot be apart."""
    if settings.engine != "openvino":
        raise SettingsError(
            f"MILES_ENGINE={settings.engine}: towers apart run a compiled bundle. Leave MILES_ENGINE unset, "
            "or serve the whole model in each replica (deploy.ray_serve:app)."
        )


def _alone(step: Step, bundle: Bundle, threads: int) -> OpenVinoEngine:
    engine = OpenVinoEngine(bundle, threads, (step,))
    engine.warm_up()
    return engine


def _tokens(text: Any) -> int:
    return len(text[0])


def _one(_: Any) -> int:
    return 1
