"""Notices a forward that hangs, or a queue that nobody serves any more. Knows neither HTTP nor the engine.

A thread cannot be killed: all that is left to do is to tell everybody who waits, and to end the process.
"""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any

from serving.errors import EngineFailedError
from serving.scoring.batching import BatchingQueue

TICK_S = 0.25


class Watchdog:
    """Looks after the queue of each step, four times a second."""

    def __init__(
        self,
        queues: Mapping[str, BatchingQueue[Any, Any]],
        limit_s: float,
        on_fault: Callable[[str], None],
        tick_s: float = TICK_S,
    ) -> None:
        """`on_fault` hears once what happened, before those who waited are told."""
        self._queues = queues
        self._limit_s = limit_s
        self._on_fault = on_fault
        self._tick_s = tick_s
        # Looks are counted, not seconds: a process that was stopped finds its forwards as they were.
        self._looks_allowed = math.ceil(limit_s / tick_s)
        self._seen: dict[str, tuple[int, int]] = {}

    async def run(self) -> None:
        """Look until something is wrong, then tell and fail everybody who waits."""
        fault = None
        while fault is None:
            await asyncio.sleep(self._tick_s)
            fault = self.look()
        self._on_fault(fault)
        for queue in self._queues.values():
            queue.fail(EngineFailedError("The model has stopped answering. Ask again in a few seconds."))

    def look(self) -> str | None:
        """What is wrong, as one line; None when all is well."""
        for name, queue in self._queues.items():
            if not queue.is_served:
                return f"the queue of the {name} step has ended; the log says why"
            number = queue.running
            if number is None:
                self._seen.pop(name, None)
                continue
            last, looks = self._seen.get(name, (number, 0))
            looks = looks + 1 if last == number else 0
            self._seen[name] = (number, looks)
            if looks > self._looks_allowed:
                return (
                    f"a forward of the {name} step has not ended within {self._limit_s:g} s "
                    "(MILES_FORWARD_TIMEOUT_S)"
                )
        return None
