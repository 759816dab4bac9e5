"""Changes the model under way: `POST /admin/reload` and SIGHUP read MILES_CHECKPOINT anew.

The new model is loaded, checked and warmed beside the old one, which serves meanwhile, and after that if the
new one cannot be used. Requests that began on the old one finish on it.
"""

import asyncio
import time
from typing import Annotated

import structlog
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry, Counter
from pydantic import BaseModel, Field

from model.checkpoint.file import CheckpointError, LocationError
from serving.errors import (
    CheckpointRefusedError,
    KeylessError,
    LoadFailedError,
    LoadRunningError,
    MilesError,
    NotReadyError,
)
from serving.lifecycle.predictor import Predictor
from serving.scoring.model import LoadedModel

OUTCOMES = ("switched", "refused", "failed", "busy")
log = structlog.get_logger()


class Reloaded(BaseModel):
    """What serves now, and what served before."""

    model_version: str
    previous_version: str | None = Field(description="null where nothing served before.")
    checkpoint: str
    sha256: str
    seconds: float


class Reloader:
    """Reloads one predictor's model, one at a time, and counts how that went."""

    def __init__(self, predictor: Predictor, registry: CollectorRegistry) -> None:
        self._predictor = predictor
        self._is_stopping = False
        self._signalled: set[asyncio.Task[None]] = set()
        self._outcomes = Counter(
            "miles_reloads", "Reloads of the checkpoint by outcome.", ["outcome"], registry=registry
        )
        for outcome in OUTCOMES:  # shown from the start, so that the first one is a change
            self._outcomes.labels(outcome)

    async def reload(self) -> Reloaded:
        """Load what MILES_CHECKPOINT names and switch to it; it goes on if the caller leaves.

        Raises `LoadRunningError`, `CheckpointRefusedError`, `LoadFailedError`, or `NotReadyError` when the
        service is stopping.
        """
        if self._is_stopping:
            raise NotReadyError("The service is stopping.")
        if self._predictor.is_loading:
            self._outcomes.labels("busy").inc()
            raise LoadRunningError("A model is being loaded already. Wait for it, then ask again.")
        before, started = self._predictor.model, time.perf_counter()
        log.info("reload_started", checkpoint=self._predictor.settings.checkpoint)
        loading = self._predictor.load()
        loading.add_done_callback(self._account)
        model = await _outcome(loading)
        return Reloaded(
            model_version=model.version,
            previous_version=before.version if before else None,
            checkpoint=model.card.name,
            sha256=model.card.sha256,
            seconds=round(time.perf_counter() - started, 3),
        )

    def on_signal(self) -> None:
        """SIGHUP came; the log says what becomes of it."""
        task = asyncio.create_task(self._reload_for_signal())
        self._signalled.add(task)
        task.add_done_callback(self._signalled.discard)

    def stop(self) -> None:
        """The process is to end: what is being loaded is of no use any more."""
        self._is_stopping = True
        self._predictor.stop_loading()

    async def _reload_for_signal(self) -> None:
        try:
            await self.reload()
        except LoadRunningError as exc:
            log.warning("reload_busy", detail=str(exc))
        except MilesError:
            return  # the account says why

    def _account(self, loading: "asyncio.Task[LoadedModel]") -> None:
        """Count and log how a load ended, whoever still wants to know."""
        if loading.cancelled():
            log.info("reload_given_up")
            return
        error = loading.exception()
        if error is None:
            self._outcomes.labels("switched").inc()
            log.info("model_switched", model_version=loading.result().version)
        elif _is_refusal(error):
            self._outcomes.labels("refused").inc()
            log.error("reload_refused", detail=str(error))
        else:
            self._outcomes.labels("failed").inc()
            log.error("reload_failed", exc_info=error)


async def _outcome(loading: "asyncio.Task[LoadedModel]") -> LoadedModel:
    """The loaded model; the load is not the caller's, who may leave."""
    try:
        return await asyncio.shield(loading)
    except asyncio.CancelledError:
        if not loading.cancelled():
            raise
        raise NotReadyError("The service is stopping; the checkpoint was not loaded.") from None
    except Exception as exc:
        if _is_refusal(exc):
            raise CheckpointRefusedError(str(exc)) from exc
        raise LoadFailedError(
            f"Loading ended in a {type(exc).__name__}; the log says more. What served before serves on."
        ) from exc


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, CheckpointError | LocationError)


async def get_reloader(request: Request) -> Reloader:
    """The reloader of a service that has keys, since one of them is what the request has shown.

    Raises `KeylessError`.
    """
    if not request.state.predictor.settings.api_keys:
        raise KeylessError(
            "This service has no keys, so that anybody could reload it: set MILES_API_KEYS, or send SIGHUP."
        )
    reloader: Reloader = request.state.reloader
    return reloader


ReloaderDep = Annotated[Reloader, Depends(get_reloader)]
