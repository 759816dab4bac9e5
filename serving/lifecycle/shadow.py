"""Scores served videos with a second checkpoint, MILES_SHADOW_CHECKPOINT, without delaying the served scores.

A video waits until the service has been idle for a moment. The newest is scored first, because its client
may be waiting. If too many wait, the oldest is dropped and counted. While the service is never idle, the
shadow scores one in `ONE_IN` served videos, so that there is something to compare. Its threads have a low
priority, and its faults end only the shadow.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import structlog

from model.checkpoint.file import CheckpointError, LocationError
from serving.errors import LoadFailedError
from serving.lifecycle.instance import ModelInstance
from serving.scoring.admission import Admission
from serving.scoring.cache import VectorCache
from serving.scoring.pipeline import Prediction, ScoringRequest

OUTCOMES = ("scored", "dropped", "failed")
ONE_IN = 20  # served videos, while the service is never idle
IDLE_S = 0.02  # without a video in progress or a new one
Answer = asyncio.Future[Prediction | None]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A served video, and the future that gets the shadow's score."""

    request: ScoringRequest
    served: Prediction
    request_id: str | None
    score: "Answer"


class Shadow:
    """The second checkpoint: loaded in the background, it scores one video at a time in idle moments."""

    def __init__(
        self,
        start: Callable[..., Awaitable[ModelInstance]],
        admission: Admission,
        cache: VectorCache,
        capacity: int,
    ) -> None:
        """`start` makes the model's instance, given `on_fault`."""
        self._start, self._admission, self._cache = start, admission, cache
        self._waiting: deque[Waiting] = deque()
        self._capacity, self._is_some_waiting = capacity, asyncio.Event()
        self._offered = 0  # videos so far
        self.scored_busy = 0
        """Scores while other videos were being scored."""
        self._instance: ModelInstance | None = None
        self._loading: asyncio.Task[None] | None = None
        self.outcomes: Counter[str] = Counter(dict.fromkeys(OUTCOMES, 0))

    @property
    def version(self) -> str | None:
        """The version of the shadow's model; None while there is none."""
        return self._instance.pipeline.model.version if self._instance else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Shadow"]:
        """The shadow while it may score."""
        working = asyncio.create_task(self._work())
        try:
            yield self
        finally:
            tasks = [working, *([self._loading] if self._loading else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._free()

    def load(self, serving: str) -> None:
        """Load the checkpoint again, in the background; unused if its sha256 is `serving`."""
        if self._loading is not None:
            self._loading.cancel()
        self._loading = asyncio.create_task(self._load(serving, self._loading))

    def offer(self, request: ScoringRequest, served: Prediction) -> "Answer | None":
        """Queue a served video for the shadow; its future score, or None if there is no shadow."""
        if self._instance is None:
            return None
        if len(self._waiting) >= self._capacity:
            self._waiting.popleft().score.set_result(None)
            self.outcomes["dropped"] += 1
        request_id = structlog.contextvars.get_contextvars().get("request_id")
        score = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(replace(request, explain=False), served, request_id, score))
        self._is_some_waiting.set()
        self._offered += 1
        return score

    async def _load(self, serving: str, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.gather(before, return_exceptions=True)
        await self._free()
        try:
            instance = await self._start(on_fault=self._on_fault)
        except (CheckpointError, LocationError, LoadFailedError) as exc:
            log.error("shadow_refused", detail=str(exc))  # noqa: TRY400  the line is all there is to know
            return
        except Exception:
            log.exception("shadow_failed")
            return
        if instance.pipeline.model.card.sha256 == serving:
            log.info("shadow_is_serving", model_version=instance.pipeline.model.version)
            await instance.close()
            return
        self._instance = instance
        log.info("shadow_loaded", model_version=self.version)

    async def _work(self) -> None:
        before = seen = 0  # videos offered when the last score began, and at the last look
        while True:
            await self._is_some_waiting.wait()
            while not (is_idle := self._is_idle(seen)) and self._offered - before < ONE_IN:
                seen = self._offered
                await asyncio.sleep(IDLE_S)
            before = self._offered
            waiting = self._waiting.pop()
            if not self._waiting:
                self._is_some_waiting.clear()
            found = await self._score(waiting)
            self.scored_busy += found is not None and not is_idle
            waiting.score.set_result(found)

    def _is_idle(self, seen: int) -> bool:
        """Whether no video is in progress, and none was offered since there were `seen`."""
        return not self._admission.taken and self._offered == seen

    async def _score(self, waiting: Waiting) -> Prediction | None:
        instance = self._instance
        if instance is None:
            self.outcomes["dropped"] += 1
            return None
        try:
            with instance.pipeline as pipeline:
                found = await pipeline.score(waiting.request)
        except Exception as exc:  # an engine may raise anything
            self.outcomes["failed"] += 1
            instance.report_failure()
            log.warning("shadow_score_failed", error=type(exc).__name__, detail=str(exc))
            return None
        self.outcomes["scored"] += 1
        log.info(
            "shadow_scored",
            request_id=waiting.request_id,
            model_version=found.model_version,
            viral_score=round(found.viral_score, 6),
            predicted_velocity=round(found.velocity, 2),
            served_version=waiting.served.model_version,
            served_viral_score=round(waiting.served.viral_score, 6),
        )
        return found

    def _on_fault(self, line: str) -> None:
        log.error("shadow_broken", detail=line)
        self._instance = None  # its threads may hang; they end with the process

    async def _free(self) -> None:
        instance, self._instance = self._instance, None
        if instance is not None:
            await instance.pipeline.idle()
            await instance.close()
            self._cache.forget(instance.pipeline.model.fingerprint)


async def score_of(waiting: "Answer | None", deadline: float) -> Prediction | None:
    """The shadow's score, by `deadline` in the event loop's time; None if there is none by then."""
    if waiting is None:
        return None
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.shield(waiting)
    except TimeoutError:
        return None
