"""The front door to the model: whether it is ready, what it scores, and which model it is."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request

from model.checkpoint.file import CheckpointError, LocationError
from preprocessing.image import is_data_url
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy
from serving.errors import EngineFailedError, MilesError, NotReadyError, PredictTimeoutError
from serving.lifecycle.head_start import Loader, load
from serving.lifecycle.instance import ModelInstance
from serving.lifecycle.shadow import Shadow
from serving.resources import usable_cpus
from serving.scoring.admission import EXPLAINED, Admission, Pace
from serving.scoring.batching import QueueClosedError
from serving.scoring.cache import VectorCache
from serving.scoring.encoders import PictureBudget
from serving.scoring.model import LoadedModel
from serving.scoring.pipeline import Pipeline, Prediction, ScoringRequest
from serving.scoring.shared_cache import SharedCache
from serving.scoring.thumbnails import ThumbnailCache
from serving.settings import Settings

HEALTHY = "healthy"
# The share of a request's time that is reserved for scoring, after its picture.
SCORING_SHARE = 0.25
EXPLAINED_AT_ONCE = 16  # of one request; the others take their slots later
log = structlog.get_logger()


def thumbnail_policy(settings: Settings) -> ThumbnailPolicy:
    """The fetcher's limits from the settings."""
    proxy = settings.thumbnail_proxy
    return ThumbnailPolicy(
        timeout_s=settings.thumbnail_timeout_s,
        max_bytes=settings.thumbnail_max_bytes,
        allowed_hosts=settings.thumbnail_allowed_hosts,
        trusted_networks=settings.thumbnail_trusted_networks,
        max_connections_per_host=settings.thumbnail_connections_per_host,
        max_redirects=settings.thumbnail_redirects,
        user_agent=settings.thumbnail_user_agent,
        headers=settings.thumbnail_headers,
        proxy=proxy.get_secret_value() if proxy else None,
    )


class Predictor:
    """Loads the model in the background, scores with it, and replaces it with another one.

    `status` is `loading`, `healthy`, `stopping`, or `failed: ` and why.
    """

    def __init__(
        self,
        settings: Settings,
        admission: Admission,
        cache: VectorCache,
        thumbnails: ThumbnailCache,
        workers: ThreadPoolExecutor,
        load: Loader,
        on_failure: Callable[[str], None],
    ) -> None:
        self.shadow: Shadow | None = None
        self.settings, self.admission, self.cache = settings, admission, cache
        self.shared_cache = cache.shared
        self.status = "loading"
        self._start = partial(ModelInstance.start, settings, cache, thumbnails, workers, load, self._on_fault)
        self._workers = workers
        self._on_failure = on_failure
        self._instance: ModelInstance | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._loading: asyncio.Task[LoadedModel] | None = None
        self._is_broken = False
        self._pace = Pace()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: Settings,
        admission: Admission,
        on_failure: Callable[[str], None] = lambda _: None,
        load: Loader = load,
        policy: ThumbnailPolicy | None = None,
    ) -> AsyncIterator["Predictor"]:
        """A predictor that has started loading; it owns its threads, connections and models.

        `on_failure` is called with one line if the first model cannot be loaded, or if a model breaks in
        service; the process should end then. `policy` replaces the one that the settings give.
        """
        async with AsyncExitStack() as stack:
            shared_cache = None
            if settings.shared_cache_url is not None:
                url, secret = settings.shared_cache_url.get_secret_value(), settings.shared_cache_secret
                shared_cache = await stack.enter_async_context(
                    SharedCache.open(
                        url, settings.shared_cache_timeout_s, secret.get_secret_value() if secret else ""
                    )
                )
            fetcher = await stack.enter_async_context(ThumbnailFetcher(policy or thumbnail_policy(settings)))
            cache = VectorCache(settings.cache_bytes, shared_cache)
            thumbnails = ThumbnailCache(fetcher, settings.thumbnail_ttl_s)
            workers = ThreadPoolExecutor(usable_cpus(), thread_name_prefix="worker")
            predictor = cls(settings, admission, cache, thumbnails, workers, load, on_failure)
            stack.push_async_callback(predictor._close)
            if settings.shadow_checkpoint is not None:
                other = settings.model_copy(update=_shadowed(settings.shadow_checkpoint))
                start = partial(
                    ModelInstance.start,
                    other,
                    cache,
                    thumbnails,
                    workers,
                    load,
                    beside_another=True,
                    gently=True,
                )
                shadow = Shadow(start, admission, cache, settings.max_queue_size)
                predictor.shadow = await stack.enter_async_context(shadow.running())
            predictor.load().add_done_callback(predictor._on_first_load)
            yield predictor

    @property
    def pipeline(self) -> Pipeline | None:
        """The serving model's pipeline; None until one is loaded."""
        return self._instance.pipeline if self._instance else None

    @property
    def model(self) -> LoadedModel | None:
        """The serving model; None until one is loaded."""
        return self._instance.pipeline.model if self._instance else None

    @property
    def is_loading(self) -> bool:
        """Whether a model is being loaded, the first one or another."""
        return self._loading is not None and not self._loading.done()

    def load(self) -> "asyncio.Task[LoadedModel]":
        """Load the checkpoint that the settings name, then switch to it.

        Call it only when nothing `is_loading`. If it raises `CheckpointError`, `LocationError` or any other
        error, the model that serves stays in service.
        """
        assert not self.is_loading, "one model is loaded at a time"
        self._loading = asyncio.create_task(self._load())
        return self._loading

    def stop_loading(self) -> None:
        """Cancel the load that is running, if any."""
        if self._loading is not None:
            self._loading.cancel()

    def require_ready(self) -> LoadedModel:
        """The serving model; raises `NotReadyError` while there is none."""
        return self._ready().pipeline.model

    async def predict(self, request: ScoringRequest, deadline: float | None = None) -> Prediction:
        """Score one video by `deadline`, in the event loop's time. Raises a `MilesError`."""
        return await self._predict(self._ready(), request, deadline, object())

    async def predict_each(
        self, requests: Sequence[ScoringRequest], deadline: float | None = None
    ) -> AsyncIterator[tuple[int, Prediction | MilesError]]:
        """Score many videos on one model; yields (index, outcome) as each finishes."""
        try:
            instance = self._ready()
        except NotReadyError as exc:
            for index in range(len(requests)):
                yield index, exc
            return

        party, explaining = object(), asyncio.Semaphore(EXPLAINED_AT_ONCE)

        async def outcome(index: int, request: ScoringRequest) -> tuple[int, Prediction | MilesError]:
            await self._pace.turn()
            try:
                async with explaining if request.explain else nullcontext():
                    return index, await self._predict(instance, request, deadline, party)
            except MilesError as exc:
                return index, exc

        tasks: list[asyncio.Task[tuple[int, Prediction | MilesError]]] = []
        try:
            for index, request in enumerate(requests):
                tasks.append(asyncio.create_task(outcome(index, request)))
                instance.pipeline.hold_until_done(tasks[-1])
            for finished in asyncio.as_completed(tasks):
                yield await finished
        finally:
            for task in tasks:  # unfinished only if the client has disconnected
                task.cancel()

    def _ready(self) -> ModelInstance:
        if self._instance is None or self.status != HEALTHY:
            raise NotReadyError(f"The model is not ready: {self.status}. Retry in a few seconds.")
        return self._instance

    async def _predict(
        self, instance: ModelInstance, request: ScoringRequest, deadline: float | None, party: Hashable
    ) -> Prediction:
        """The videos of one HTTP request are one `party`, which shares turns for thumbnails."""
        timeout_s = self.settings.request_timeout_s
        waits = request.thumbnail_url is not None and not is_data_url(request.thumbnail_url)
        slots = min(EXPLAINED, self.admission.capacity) if request.explain else 1
        with self.admission.slot(waits=waits, slots=slots), instance.pipeline as pipeline:
            ends = deadline or asyncio.get_running_loop().time() + timeout_s
            budget = PictureBudget(ends - SCORING_SHARE * timeout_s, party)
            try:
                async with asyncio.timeout_at(ends):
                    prediction = await pipeline.score(request, budget)
                if self.shadow is None:
                    return prediction
                return replace(prediction, shadow=self.shadow.offer(request, prediction))
            except TimeoutError as exc:
                raise PredictTimeoutError(
                    f"No score within {timeout_s:g} s. Retry, or send fewer videos at once."
                ) from exc
            except QueueClosedError as exc:
                raise NotReadyError("The service is stopping. Retry in a few seconds.") from exc
            except MilesError as exc:
                if isinstance(exc, EngineFailedError):
                    instance.report_failure()
                raise
            except Exception as exc:  # an engine may raise anything
                log.exception("forward_failed")
                instance.report_failure()
                raise EngineFailedError("The model failed on this request. Retry.") from exc

    async def _load(self) -> LoadedModel:
        new = await self._start(beside_another=self._instance is not None)
        old, self._instance = self._instance, new
        if not self._is_broken:
            self.status = HEALTHY
        if old is None:
            _collect_once()
        else:
            retiring = asyncio.create_task(self._retire(old))
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retiring.discard)
        if self.shadow is not None:
            self.shadow.load(new.pipeline.model.card.sha256)
        return new.pipeline.model

    async def _retire(self, old: ModelInstance) -> None:
        """Free a model that has been replaced, after its last request."""
        version, fingerprint = old.pipeline.model.version, old.pipeline.model.fingerprint
        try:
            await old.pipeline.idle()
        finally:
            await old.close()
        if self.model is not None and self.model.fingerprint != fingerprint:
            self.cache.forget(fingerprint)
        del old
        _collect_once()  # queues and the steps that they run refer to each other, and keep the weights alive
        log.info("model_freed", model_version=version)

    def _on_first_load(self, loading: "asyncio.Task[LoadedModel]") -> None:
        if loading.cancelled():
            return
        error = loading.exception()
        if error is None:
            model = loading.result()
            name = "demo model" if model.card.provenance.get("source") == "demo" else self.settings.checkpoint
            log.info("ready", url=self.settings.url, model=name, precision=model.engine.precision)
        elif isinstance(error, CheckpointError | LocationError):
            self._fail(str(error))
        else:
            log.error("load_failed", exc_info=error)
            self._fail(f"{type(error).__name__} while loading {self.settings.checkpoint}")

    def _on_fault(self, line: str) -> None:
        log.error("model_broken", detail=line)
        self._is_broken = True
        self._fail(line)

    def _fail(self, line: str) -> None:
        self.status = f"failed: {line}"
        self._on_failure(line)

    async def _close(self) -> None:
        self.status = "stopping"
        tasks = [*self._retiring, *([self._loading] if self._loading else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._instance is not None:
            await self._instance.close()
        is_idle = self._instance is not None and not self._is_broken
        self._workers.shutdown(wait=is_idle, cancel_futures=True)


def _collect_once() -> None:
    """Collect garbage, and exclude the objects that remain from later collections.

    Each would block the event loop for 80 ms, only to find that the model and libraries are still in use.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _shadowed(checkpoint: str) -> dict[str, Any]:
    """The settings that differ for the shadow; the hashes of the served checkpoint do not apply to it."""
    return {"checkpoint": checkpoint, "checkpoint_sha256": None, "bundle_sha256": None}


async def get_predictor(request: Request) -> Predictor:
    """The predictor from the lifespan; async because FastAPI runs other functions in a thread."""
    predictor: Predictor = request.state.predictor
    return predictor


PredictorDep = Annotated[Predictor, Depends(get_predictor)]
