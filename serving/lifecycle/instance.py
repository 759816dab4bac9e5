"""A loaded model in service: its threads, queues, decoders and supervision, from loading to its last answer.

Four objects serve a model:

    Predictor      the front door: readiness, admission, deadlines, and switching to another model
    ModelInstance  one model in service: starts and stops what it runs on
    Pipeline       scores one video: towers side by side, then the fusion; knows the requests that use it
    LoadedModel    the engine and everything built from the card; immutable

A process has one instance, and two for a while when the model is replaced. A request finishes on the instance
it started on.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Self

import structlog

from serving.lifecycle.compile_process import NICE, compile_in_process
from serving.lifecycle.head_start import Loader
from serving.lifecycle.loading import NotCompiledError
from serving.lifecycle.supervision import Supervisor
from serving.scoring.cache import VectorCache
from serving.scoring.model import LoadedModel
from serving.scoring.pipeline import Pipeline
from serving.scoring.thumbnails import ThumbnailCache
from serving.settings import Settings

log = structlog.get_logger()


class ModelInstance:
    """One model in service."""

    def __init__(
        self,
        pipeline: Pipeline,
        supervisor: Supervisor,
        stack: AsyncExitStack,
        executors: list[Executor],
        workers: Executor,
    ) -> None:
        self.pipeline = pipeline
        self._supervisor = supervisor
        self._stack, self._executors, self._workers = stack, executors, workers

    @classmethod
    async def start(
        cls,
        settings: Settings,
        cache: VectorCache,
        thumbnails: ThumbnailCache,
        workers: Executor,
        load: Loader,
        on_fault: Callable[[str], None],
        *,
        beside_another: bool,
        gently: bool = False,
    ) -> Self:
        """Load, check and warm up the model that the settings name.

        `workers` runs blocking work; `on_fault` is called with one line if a forward hangs or all of them
        fail. With `beside_another`, a serving instance keeps priority on the processors while this one loads
        (with `gently`, permanently), and a model that needs more memory than is free is refused with
        `LoadFailedError`. Raises `CheckpointError`, `LocationError` or any other error of loading; after an
        error nothing is left running.
        """
        executors: list[Executor] = []
        async with AsyncExitStack() as stack:

            def threads(name: str, count: int = 1) -> Executor:
                initializer = _yield_processors if gently else None
                executor = ThreadPoolExecutor(count, thread_name_prefix=name, initializer=initializer)
                executors.append(executor)
                # Not waited for: a thread that hangs or is still loading cannot be interrupted.
                stack.callback(executor.shutdown, wait=False, cancel_futures=True)
                return executor

            forward = threads("forward")
            model = await _load(settings, load, forward, beside_another)
            at_once = model.engine.at_once
            steps: dict[str, Executor | None] = dict.fromkeys(("text", "image", "fusion"), forward)
            if model.engine.concurrent:
                steps["image"] = threads("forward-image", at_once)
            if at_once > 1:
                steps["text"] = threads("forward-text", at_once)
            if model.engine.scores_inline:
                steps["fusion"] = None
            pipeline = Pipeline(model, settings, cache, thumbnails, steps, workers)
            await stack.enter_async_context(pipeline.running())
            if beside_another:
                await pipeline.warm_up()
            # Entered last: it must not mistake the end of the queues for a fault.
            supervisor = Supervisor(pipeline.queues, pipeline.probe, settings.forward_timeout_s, on_fault)
            await stack.enter_async_context(supervisor)
            return cls(pipeline, supervisor, stack.pop_all(), executors, workers)

    def report_failure(self) -> None:
        """Count a failed forward: because of its input, or because the model is broken."""
        self._supervisor.report_failure()

    async def close(self) -> None:
        """Stop queues, decoders and threads. Requests that still wait get `QueueClosedError`."""
        await self._stack.aclose()
        if self._supervisor.fault is None:
            for executor in self._executors:
                await asyncio.get_running_loop().run_in_executor(self._workers, executor.shutdown)


def _yield_processors() -> None:
    """Lower the priority of this thread, and of those that it starts; Linux sets it per thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


async def _load(settings: Settings, load: Loader, forward: Executor, beside_another: bool) -> LoadedModel:
    """The model, loaded in the thread that will run it; a checkpoint without a bundle is compiled first."""
    loop = asyncio.get_running_loop()
    try:
        model = await loop.run_in_executor(forward, load, settings, beside_another)
    except NotCompiledError as exc:
        await compile_in_process(exc.path, settings, gently=beside_another)
        model = await loop.run_in_executor(forward, load, settings, beside_another)
    log.info(
        "model_loaded",
        model_version=model.version,
        checkpoint=model.card.name,
        sha256=model.card.sha256,
        weights=model.card.provenance.get("source", "owner"),
        engine=model.engine.name,
        precision=model.engine.precision,
        golden_answers=len(model.card.golden.get("requests", ())),
    )
    return model
