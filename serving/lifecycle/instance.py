"""One model in service: its threads, queues, decoders and watchdog, from its load to its last answer.

A process has one, and for a while two when the model is changed. Requests hold the one that they began on.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import structlog

from preprocessing.image import ImageLimits
from preprocessing.thumbnails.cache import ThumbnailCache
from preprocessing.thumbnails.fetcher import ThumbnailPolicy
from serving.lifecycle.compile_process import compile_in_process
from serving.lifecycle.doubt import Doubt
from serving.lifecycle.golden import check_golden_answers
from serving.lifecycle.loading import Build, NotCompiledError, load_model, whole
from serving.lifecycle.supervision import Watchdog
from serving.scoring.cache import VectorCache
from serving.scoring.model import LoadedModel
from serving.scoring.pipeline import Pipeline, Threads
from serving.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True)
class Shared:
    """What every model of one process uses."""

    settings: Settings
    cache: VectorCache
    thumbnails: ThumbnailCache
    limits: ImageLimits
    workers: Executor
    """Threads that tokenise long texts."""
    processors: int
    on_hang: Callable[[str], None]
    """Hears one line when a forward does not end, or none succeeds any more."""
    build: Build = whole
    """Makes the engine of a compiled model."""


def thumbnail_policy(settings: Settings) -> ThumbnailPolicy:
    """What may be fetched, as the settings say."""
    return ThumbnailPolicy(
        timeout_s=settings.thumbnail_timeout_s,
        max_bytes=settings.thumbnail_max_bytes,
        allowed_hosts=settings.thumbnail_allowed_hosts,
        trusted_networks=settings.thumbnail_trusted_networks,
    )


class Generation:
    """A loaded model and all that runs for it alone."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._stack = AsyncExitStack()
        self._pipeline: Pipeline | None = None
        self._doubt: Doubt | None = None
        self._has_hung = False
        self._requests = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @classmethod
    async def start(cls, shared: Shared, *, beside_another: bool) -> Self:
        """Load, check and warm the model that the settings name, so that it may serve.

        `beside_another` is whether one serves already, which keeps its turn on the processors. Raises
        `CheckpointError`, `LocationError` or whatever else a load ran into, and leaves nothing behind then.
        """
        generation = cls(shared)
        try:
            await generation._start(beside_another)
        except BaseException:
            await generation.close()
            raise
        return generation

    @property
    def pipeline(self) -> Pipeline:
        """What scores."""
        assert self._pipeline is not None, "whoever has a generation has one that was started"
        return self._pipeline

    def __enter__(self) -> Pipeline:
        """Begin a request on this model; it is kept until the request has left."""
        self._requests += 1
        self._is_idle.clear()
        return self.pipeline

    def __exit__(self, *_: object) -> None:
        self._requests -= 1
        if not self._requests:
            self._is_idle.set()

    def doubt(self) -> None:
        """A forward has failed: the request's fault, or the model's, which is found out."""
        assert self._doubt is not None, "only one that was started runs forwards"
        self._doubt.failed()

    def hold_for(self, task: "asyncio.Task[Any]") -> None:
        """Keep this model from now on until `task` is done, which may not even have begun."""
        self.__enter__()
        task.add_done_callback(self.__exit__)

    async def idle(self) -> None:
        """Return when no request is on this model."""
        await self._is_idle.wait()

    async def close(self) -> None:
        """End queues, decoders and threads; who still waits is told."""
        await self._stack.aclose()

    async def _start(self, beside_another: bool) -> None:
        shared, settings = self._shared, self._shared.settings
        forward = self._threads("forward", 1)
        model = await _load(shared, forward, beside_another)
        text = image = fusion = forward
        if model.engine.concurrent:
            fusion = self._threads("forward-fusion", 1)
            image = self._threads("forward-image", model.engine.at_once)
        if model.engine.at_once > 1:
            text = self._threads("forward-text", model.engine.at_once)
        threads = Threads(text, image, fusion, shared.workers, shared.processors)
        pipeline = Pipeline(
            model, shared.cache, shared.thumbnails, shared.limits, threads, settings.max_batch_size
        )
        await self._stack.enter_async_context(pipeline.running())
        watchdog = Watchdog(pipeline.queues, settings.forward_timeout_s, self._hang)
        watch = asyncio.create_task(watchdog.run())
        self._stack.callback(watch.cancel)  # before the queues are closed: their end is no fault then
        self._doubt = Doubt(pipeline.probe, shared.on_hang)
        self._stack.callback(self._doubt.stop)
        if beside_another:
            await pipeline.warm_up()
        self._pipeline = pipeline

    def _threads(self, name: str, count: int) -> Executor:
        executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._stack.push_async_callback(self._end, executor)
        return executor

    def _hang(self, line: str) -> None:
        self._has_hung = True
        self._shared.on_hang(line)

    async def _end(self, executor: Executor) -> None:
        """End its threads; what one that hangs or still loads does is of use to nobody any more."""
        is_idle = self._pipeline is not None and not self._has_hung
        end = partial(executor.shutdown, wait=is_idle, cancel_futures=True)
        await asyncio.get_running_loop().run_in_executor(self._shared.workers, end)


async def _load(shared: Shared, forward: Executor, beside_another: bool) -> LoadedModel:
    """The model, loaded in the thread that will run it, and compiled before where it has to be."""
    loop, settings = asyncio.get_running_loop(), shared.settings
    load = partial(load_and_check, settings, shared.build)
    try:
        return await loop.run_in_executor(forward, load)
    except NotCompiledError as exc:
        await compile_in_process(exc.path, settings, gently=beside_another)
        return await loop.run_in_executor(forward, load)


def load_and_check(settings: Settings, build: Build = whole) -> LoadedModel:
    """The model of `settings`, proven on its golden answers; runs in the thread that will run the engine."""
    model = load_model(settings, build)
    golden = check_golden_answers(model)
    log.info(
        "model_loaded",
        model_version=model.version,
        checkpoint=model.card.name,
        sha256=model.card.sha256,
        weights=model.card.provenance.get("source", "owner"),
        engine=model.engine.name,
        precision=model.engine.precision,
        golden_answers=golden,
    )
    return model
