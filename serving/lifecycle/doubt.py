"""A model that fails on some requests may be broken, or only those requests are: a question of our own tells.

Knows neither HTTP nor the engine.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

FAILURES = 8  # so many forwards may fail before the model is asked
TRIES = 3
PAUSE_S = 0.25  # what fails for want of memory may pass
log = structlog.get_logger()


class Doubt:
    """Counts failed forwards; after every eighth it asks the model a question that has to be answered."""

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        on_fault: Callable[[str], None],
        pause_s: float = PAUSE_S,
    ) -> None:
        """`probe` runs every step once and raises what they raise; `on_fault` hears one line, once."""
        self._probe = probe
        self._on_fault = on_fault
        self._pause_s = pause_s
        self._failures = 0
        self._asking: asyncio.Task[None] | None = None

    def failed(self) -> None:
        """One more forward has failed."""
        self._failures += 1
        if self._failures % FAILURES == 0 and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask())

    def stop(self) -> None:
        """Nobody wants to know any more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        last: Exception | None = None
        for _ in range(TRIES):
            try:
                await self._probe()
            except Exception as exc:
                last = exc
                await asyncio.sleep(self._pause_s)
            else:
                log.warning("requests_failed_but_the_model_answers", failures=self._failures)
                return
        self._on_fault(f"the model fails on whatever it is asked: {type(last).__name__}: {last}")
