"""The service's heart as HTTP sees it: is it ready, and what is the score of this video?"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import structlog

from model.checkpoint.file import CheckpointError, LocationError
from preprocessing.image import ImageLimits
from preprocessing.thumbnails.cache import ThumbnailCache
from preprocessing.thumbnails.fetcher import ThumbnailFetcher, ThumbnailPolicy
from serving.cpu import usable_cpus
from serving.errors import EngineFailedError, MilesError, NotReadyError, PredictTimeoutError
from serving.lifecycle.instance import Generation, Shared, thumbnail_policy
from serving.lifecycle.loading import Build, whole
from serving.scoring.admission import Admission
from serving.scoring.batching import QueueClosedError
from serving.scoring.cache import VectorCache
from serving.scoring.model import LoadedModel
from serving.scoring.pipeline import Pipeline, Prediction, ScoringRequest
from serving.scoring.shared_cache import SharedCache
from serving.settings import Settings

HEALTHY = "healthy"
log = structlog.get_logger()


class Predictor:
    """Loads the model beside the running server, scores with it, and changes it for another one.

    `status` is `loading`, `healthy`, or says why there will be no model, or none any more.
    """

    def __init__(self, settings: Settings, admission: Admission) -> None:
        self.settings = settings
        self.admission = admission
        self.status = "loading"
        self.cache = VectorCache(settings.cache_bytes)
        self.shared_cache: SharedCache | None = None
        self._shared: Shared | None = None
        self._generation: Generation | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[LoadedModel] | None = None
        self._has_hung = False

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        admission: Admission,
        on_failure: Callable[[str], None] = lambda _: None,
        build: Build = whole,
        policy: ThumbnailPolicy | None = None,
    ) -> AsyncIterator["Predictor"]:
        """A predictor that is loading; it owns its threads, its connections and its models.

        `on_failure` hears one line if the model cannot be loaded or stops answering: the process has no use
        without it. `build` makes the engine of a compiled model; `policy` stands for the settings' one.
        """
        predictor = cls(settings, admission)
        async with AsyncExitStack() as stack:
            processors = usable_cpus()
            workers = ThreadPoolExecutor(processors, thread_name_prefix="worker")
            stack.callback(predictor._end, workers)
            if settings.shared_cache_url is not None:
                url = settings.shared_cache_url.get_secret_value()
                shared = SharedCache.open(url, settings.shared_cache_timeout_s)
                predictor.shared_cache = await stack.enter_async_context(shared)
                predictor.cache = VectorCache(settings.cache_bytes, predictor.shared_cache)
            fetcher = await stack.enter_async_context(ThumbnailFetcher(policy or thumbnail_policy(settings)))
            predictor._shared = Shared(
                settings,
                predictor.cache,
                ThumbnailCache(fetcher, settings.thumbnail_ttl_s),
                ImageLimits(settings.thumbnail_max_bytes, settings.thumbnail_max_pixels),
                workers,
                processors,
                partial(predictor._hang, on_failure),
                build,
            )
            stack.push_async_callback(predictor._close)
            predictor.load().add_done_callback(partial(predictor._judge, on_failure))
            yield predictor

    @property
    def pipeline(self) -> Pipeline | None:
        """What scores, None before it is ready."""
        return self._generation.pipeline if self._generation else None

    @property
    def model(self) -> LoadedModel | None:
        """The loaded model, None before it is ready."""
        return self._generation.pipeline.model if self._generation else None

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded, the first one or another."""
        return self._loading is not None and not self._loading.done()

    def load(self) -> "asyncio.Task[LoadedModel]":
        """Load what the settings name beside what serves, if anything does, and switch to it.

        Only when nothing `is_loading`. Raises `CheckpointError`, `LocationError` or whatever else a load ran
        into; what served before serves on then.
        """
        assert not self.is_loading, "one model is loaded at a time"
        self._loading = asyncio.create_task(self._load())
        return self._loading

    def stop_loading(self) -> None:
        """Give up a model that is being loaded."""
        if self._loading is not None:
            self._loading.cancel()

    def require_ready(self) -> LoadedModel:
        """The loaded model; raises `NotReadyError` while there is none."""
        return self._ready().pipeline.model

    async def predict(self, request: ScoringRequest, deadline: float | None = None) -> Prediction:
        """Score one video by `deadline`, in the event loop's time. Raises a `MilesError`."""
        return await self._predict(self._ready(), request, deadline)

    async def predict_each(
        self, requests: Sequence[ScoringRequest], deadline: float | None = None
    ) -> AsyncIterator[tuple[int, Prediction | MilesError]]:
        """Score many videos on one model; yields (index, outcome) in the order in which they finish."""
        try:
            generation = self._ready()
        except NotReadyError as exc:
            for index in range(len(requests)):
                yield index, exc
            return
        tasks = [
            asyncio.create_task(self._outcome(generation, index, request, deadline))
            for index, request in enumerate(requests)
        ]
        for task in tasks:
            generation.hold_for(task)
        try:
            for finished in asyncio.as_completed(tasks):
                yield await finished
        finally:
            for task in tasks:  # the client left: nobody waits for the rest
                task.cancel()

    def _ready(self) -> Generation:
        if self._generation is None or self.status != HEALTHY:
            raise NotReadyError(f"The model is not ready: {self.status}. Ask again in a few seconds.")
        return self._generation

    async def _outcome(
        self, generation: Generation, index: int, request: ScoringRequest, deadline: float | None
    ) -> tuple[int, Prediction | MilesError]:
        try:
            return index, await self._predict(generation, request, deadline)
        except MilesError as exc:
            return index, exc

    async def _predict(
        self, generation: Generation, request: ScoringRequest, deadline: float | None
    ) -> Prediction:
        with self.admission.place(), generation as pipeline:
            try:
                return await self._score(pipeline, request, deadline)
            except EngineFailedError:
                generation.doubt()
                raise

    async def _score(self, pipeline: Pipeline, request: ScoringRequest, deadline: float | None) -> Prediction:
        timeout_s = self.settings.request_timeout_s
        try:
            async with asyncio.timeout_at(deadline or asyncio.get_running_loop().time() + timeout_s):
                return await pipeline.score(request)
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

    async def _load(self) -> LoadedModel:
        assert self._shared is not None, "an open predictor loads"
        new = await Generation.start(self._shared, beside_another=self._generation is not None)
        old, self._generation = self._generation, new
        if not self._has_hung:
            self.status = HEALTHY
        if old is not None:
            retiring = asyncio.create_task(self._retire(old))
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)
        return new.pipeline.model

    async def _retire(self, old: Generation) -> None:
        """Free a model that has been replaced, once nobody waits for it."""
        version, fingerprint = old.pipeline.model.version, old.pipeline.model.fingerprint
        try:
            await old.idle()
        finally:
            await old.close()
        if self.model is not None and self.model.fingerprint != fingerprint:
            self.cache.forget(fingerprint)
        del old
        # A queue and the step that it runs hold each other, and the model with them: not left to chance.
        gc.collect()
        log.info("model_freed", model_version=version)

    def _judge(self, on_failure: Callable[[str], None], first: "asyncio.Task[LoadedModel]") -> None:
        """What the first load's end means."""
        if first.cancelled():
            return
        error = first.exception()
        if isinstance(error, CheckpointError | LocationError):
            self._fail(str(error), on_failure)
        elif error is not None:
            log.error("load_failed", exc_info=error)
            self._fail(f"{type(error).__name__} while loading {self.settings.checkpoint}", on_failure)

    def _hang(self, on_failure: Callable[[str], None], line: str) -> None:
        log.error("model_stopped_answering", detail=line)
        self._has_hung = True
        self._fail(line, on_failure)

    async def _close(self) -> None:
        self.status = "stopping"
        tasks = [*self._retiring, *([self._loading] if self._loading else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._generation is not None:
            await self._generation.close()

    def _end(self, workers: ThreadPoolExecutor) -> None:
        is_idle = self._generation is not None and not self._has_hung
        workers.shutdown(wait=is_idle, cancel_futures=True)

    def _fail(self, line: str, on_failure: Callable[[str], None]) -> None:
        self.status = f"failed: {line}"
        on_failure(line)
