"""Runs identical work once: callers that ask while it is in flight get the same outcome. For one event loop.

The work belongs to all who wait for it, not to the one who came first: a caller who leaves takes nothing
from the others, and work without waiting callers is cancelled. Nothing is kept afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Result = TypeVar("Result")


@dataclass(slots=True)
class _Flight(Generic[Result]):
    task: "asyncio.Task[Result]"
    waiters: int = 0


class SingleFlight(Generic[Result]):
    """Work in flight by key; `collapsed` counts the callers who joined what another had begun."""

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight[Result]] = {}
        self.collapsed = 0

    def __len__(self) -> int:
        """How many pieces of work are in flight."""
        return len(self._flights)

    async def run(self, key: bytes, work: Callable[[], Awaitable[Result]]) -> Result:
        """The outcome of `work`, or of the work in flight under the same key. Raises what it raised."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(self._fly(key, work)))
            flight.task.add_done_callback(_hear)
            self._flights[key] = flight
        else:
            self.collapsed += 1
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                del self._flights[key]  # at once: a newcomer must not join what is being cancelled
                flight.task.cancel()
                # The last to leave sees it end, so that what the work uses is not closed under it.
                await asyncio.wait([flight.task])

    async def _fly(self, key: bytes, work: Callable[[], Awaitable[Result]]) -> Result:
        task = asyncio.current_task()
        assert task is not None, "run as a task"
        try:
            return await work()
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            # Something inside gave up. To the waiters a bare CancelledError would mean that they were meant.
            raise RuntimeError("the work was cancelled from within") from None
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is task:  # not if it was abandoned and started again
                del self._flights[key]


def _hear(task: "asyncio.Task[Result]") -> None:
    """Retrieve an error that arrived after the last caller left, which asyncio would log."""
    if not task.cancelled():
        task.exception()
