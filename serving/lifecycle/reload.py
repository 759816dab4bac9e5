"""Replaces the model in service: `POST /admin/reload` and SIGHUP read MILES_CHECKPOINT again.

The new model is loaded, checked and warmed up while the old one serves; if it cannot be used, the old one
stays. Requests that started on the old model finish on it.
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
    """The model in service, and the one before it."""

    model_version: str
    previous_version: str | None = Field(description="null if none was in service.")
    checkpoint: str
    sha256: str
    seconds: float


class Reloader:
    """Reloads one predictor's model, one load at a time, and counts the outcomes."""

    def __init__(self, predictor: Predictor, registry: CollectorRegistry) -> None:
        self._predictor = predictor
        self._is_stopping = False
        self._signalled: set[asyncio.Task[None]] = set()
        self._outcomes = Counter(
            "miles_reloads", "Reloads of the checkpoint by outcome.", ["outcome"], registry=registry
        )
        for outcome in OUTCOMES:  # exposed as 0 from the start, so that the first one is a change
            self._outcomes.labels(outcome)

    async def reload(self) -> Reloaded:
        """Load MILES_CHECKPOINT and switch to it; continues if the caller is cancelled.

        Raises `LoadRunningError`, `CheckpointRefusedError`, `LoadFailedError`, or `NotReadyError` when the
        service is stopping.
        """
        if self._is_stopping:
            raise NotReadyError("The service is stopping.")
        if self._predictor.is_loading:
            self._outcomes.labels("busy").inc()
            raise LoadRunningError("A model is already being loaded. Retry when it is in service.")
        before, started = self._predictor.model, time.perf_counter()
        log.info("reload_started", checkpoint=self._predictor.settings.checkpoint)
        loading = self._predictor.load()
        model = await asyncio.shield(self._outcome(loading))
        return Reloaded(
            model_version=model.version,
            previous_version=before.version if before else None,
            checkpoint=model.card.name,
            sha256=model.card.sha256,
            seconds=round(time.perf_counter() - started, 3),
        )

    def on_signal(self) -> None:
        """Reload on SIGHUP; the outcome is logged."""
        task = asyncio.create_task(self._reload_on_signal())
        self._signalled.add(task)
        task.add_done_callback(self._signalled.discard)

    def stop(self) -> None:
        """Cancel a running load, and refuse later ones: the process is about to end."""
        self._is_stopping = True
        self._predictor.stop_loading()

    async def _reload_on_signal(self) -> None:
        try:
            await self.reload()
        except LoadRunningError as exc:
            log.warning("reload_busy", detail=str(exc))
        except MilesError:
            return  # logged already

    async def _outcome(self, loading: "asyncio.Task[LoadedModel]") -> LoadedModel:
        """Wait for a load, then count and log how it ended."""
        try:
            model = await loading
        except asyncio.CancelledError:
            log.info("reload_cancelled")
            raise NotReadyError("The service is stopping; the checkpoint was not loaded.") from None
        except (CheckpointError, LocationError) as exc:
            self._outcomes.labels("refused").inc()
            log.error("reload_refused", detail=str(exc))  # noqa: TRY400  the line is all there is to know
            raise CheckpointRefusedError(str(exc)) from exc
        except LoadFailedError as exc:
            self._outcomes.labels("failed").inc()
            log.error("reload_failed", detail=str(exc))  # noqa: TRY400  the line is all there is to know
            raise
        except Exception as exc:
            self._outcomes.labels("failed").inc()
            log.exception("reload_failed")
            raise LoadFailedError(
                f"Loading failed with {type(exc).__name__}; see the log. The previous model stays in service."
            ) from exc
        self._outcomes.labels("switched").inc()
        log.info("model_switched", model_version=model.version)
        return model


async def get_reloader(request: Request) -> Reloader:
    """The reloader. Raises `KeylessError` for a service without API keys: its route is not protected."""
    if not request.state.predictor.settings.api_keys:
        raise KeylessError("Reloading over HTTP requires API keys. Set MILES_API_KEYS, or send SIGHUP.")
    reloader: Reloader = request.state.reloader
    return reloader


ReloaderDep = Annotated[Reloader, Depends(get_reloader)]
