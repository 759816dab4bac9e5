"""The service's heart as HTTP sees it: is it ready, and what is the score of this video?"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog

from model.file_check import CheckpointError
from model.location import LocationError
from preprocessing.image import ImageLimits
from preprocessing.thumbnail_cache import ThumbnailCache
from preprocessing.thumbnails import ThumbnailFetcher, ThumbnailPolicy
from serving.admission import Admission
from serving.batching import QueueClosedError
from serving.cache import VectorCache
from serving.cpu_quota import usable_cpus
from serving.errors import EngineFailedError, MilesError, NotReadyError, PredictTimeoutError
from serving.golden import check_golden_answers
from serving.loading import LoadedModel, load_model
from serving.pipeline import Pipeline, Prediction, ScoringRequest, Threads
from serving.settings import Settings
from serving.watchdog import Watchdog

HEALTHY = "healthy"
log = structlog.get_logger()


class Predictor:
    """Loads the model beside the running server, then scores with it.

    `status` is `loading`, `healthy`, or says why there will be no model, or none any more.
    """

    def __init__(self, settings: Settings, admission: Admission) -> None:
        self.settings = settings
        self.admission = admission
        self.status = "loading"
        self.cache = VectorCache(settings.cache_bytes)
        self._pipeline: Pipeline | None = None
        self._has_hung = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        admission: Admission,
        on_failure: Callable[[str], None] = lambda _: None,
    ) -> AsyncIterator["Predictor"]:
        """A predictor that is loading; it owns its threads, its connections and its queues.

        `on_failure` hears one line if the model cannot be loaded or stops answering: the process has no use
        without it.
        """
        predictor = cls(settings, admission)
        async with AsyncExitStack() as stack:
            processors = usable_cpus()
            forward, image, fusion, workers = executors = [
                ThreadPoolExecutor(threads, thread_name_prefix=name)
                for name, threads in (
                    ("forward", 1),
                    ("forward-image", 1),
                    ("forward-fusion", 1),
                    ("worker", processors),
                )
            ]
            stack.callback(predictor._end, executors)
            fetcher = await stack.enter_async_context(ThumbnailFetcher(_policy(settings)))
            thumbnails = ThumbnailCache(fetcher, settings.thumbnail_ttl_s)
            limits = ImageLimits(settings.thumbnail_max_bytes, settings.thumbnail_max_pixels)

            async def start() -> Pipeline:
                model = await asyncio.get_running_loop().run_in_executor(forward, load_and_check, settings)
                threads = Threads(forward, forward, forward, workers, processors)
                if model.engine.concurrent:
                    threads = Threads(forward, image, fusion, workers, processors)
                pipeline = Pipeline(
                    model, predictor.cache, thumbnails, limits, threads, settings.max_batch_size
                )
                await stack.enter_async_context(pipeline.running())
                fault = partial(predictor._hang, on_failure)
                watch = asyncio.create_task(
                    Watchdog(pipeline.queues, settings.forward_timeout_s, fault).run()
                )
                stack.callback(watch.cancel)  # before the queues are closed: their end is no fault then
                return pipeline

            loading = asyncio.create_task(predictor._load(start(), on_failure))
            try:
                yield predictor
            finally:
                predictor.status = "stopping"
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)

    @property
    def pipeline(self) -> Pipeline | None:
        """What scores, None before it is ready."""
        return self._pipeline

    @property
    def model(self) -> LoadedModel | None:
        """The loaded model, None before it is ready."""
        return self._pipeline.model if self._pipeline else None

    def require_ready(self) -> LoadedModel:
        """The loaded model; raises `NotReadyError` while there is none."""
        if self._pipeline is None or self.status != HEALTHY:
            raise NotReadyError(f"The model is not ready: {self.status}. Ask again in a few seconds.")
        return self._pipeline.model

    async def predict(self, request: ScoringRequest, deadline: float | None = None) -> Prediction:
        """Score one video by `deadline`, in the event loop's time. Raises a `MilesError`."""
        self.require_ready()
        with self.admission.place():
            return await self._score(request, deadline)

    async def _score(self, request: ScoringRequest, deadline: float | None) -> Prediction:
        assert self._pipeline is not None, "ready means loaded"
        timeout_s = self.settings.request_timeout_s
        try:
            async with asyncio.timeout_at(deadline or asyncio.get_running_loop().time() + timeout_s):
                return await self._pipeline.score(request)
        except TimeoutError as exc:
            raise PredictTimeoutError(
                f"No score within {timeout_s:g} s of the request. Try again, or send fewer at once."
            ) from exc
        except QueueClosedError as exc:
            raise NotReadyError("The service is stopping. Ask again in a few seconds.") from exc
        except MilesError:
            raise
        except Exception as exc:
            # Whatever the engine raises; the client did nothing wrong.
            log.exception("forward_failed")
            raise EngineFailedError("The model failed on this request. Try again.") from exc

    async def predict_each(
        self, requests: Sequence[ScoringRequest], deadline: float | None = None
    ) -> AsyncIterator[tuple[int, Prediction | MilesError]]:
        """Score many videos at once; yields (index, outcome) in the order in which they finish."""
        tasks = [
            asyncio.create_task(self._outcome(index, request, deadline))
            for index, request in enumerate(requests)
        ]
        try:
            for finished in asyncio.as_completed(tasks):
                yield await finished
        finally:
            for task in tasks:  # the client left: nobody waits for the rest
                task.cancel()

    async def _outcome(
        self, index: int, request: ScoringRequest, deadline: float | None
    ) -> tuple[int, Prediction | MilesError]:
        try:
            return index, await self.predict(request, deadline)
        except MilesError as exc:
            return index, exc

    async def _load(self, start: Awaitable[Pipeline], on_failure: Callable[[str], None]) -> None:
        try:
            self._pipeline = await start
            self.status = HEALTHY
        except (CheckpointError, LocationError) as exc:
            self._fail(str(exc), on_failure)
        except Exception as exc:
            log.exception("load_failed")
            self._fail(f"{type(exc).__name__} while loading {self.settings.checkpoint}", on_failure)

    def _hang(self, on_failure: Callable[[str], None], line: str) -> None:
        log.error("model_stopped_answering", detail=line)
        self._has_hung = True
        self._fail(line, on_failure)

    def _end(self, executors: Sequence[ThreadPoolExecutor]) -> None:
        """End the threads; what one that hangs or still loads does is of use to nobody any more."""
        is_idle = self._pipeline is not None and not self._has_hung
        for executor in executors:
            executor.shutdown(wait=is_idle, cancel_futures=True)

    def _fail(self, line: str, on_failure: Callable[[str], None]) -> None:
        self.status = f"failed: {line}"
        on_failure(line)


def load_and_check(settings: Settings) -> LoadedModel:
    """The model of `settings`, proven on its golden answers; runs in the thread that will run the engine."""
    model = load_model(settings)
    golden = check_golden_answers(model)
    log.info(
        "model_loaded",
        checkpoint=model.card.name,
        sha256=model.card.sha256,
        weights=model.card.provenance.get("source", "owner"),
        engine=model.engine.name,
        precision=model.engine.precision,
        golden_answers=golden,
    )
    return model


def _policy(settings: Settings) -> ThumbnailPolicy:
    return ThumbnailPolicy(
        timeout_s=settings.thumbnail_timeout_s,
        max_bytes=settings.thumbnail_max_bytes,
        allowed_hosts=settings.thumbnail_allowed_hosts,
        trusted_networks=settings.thumbnail_trusted_networks,
    )
