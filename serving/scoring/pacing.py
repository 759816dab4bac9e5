"""Spreads bursts over turns of the event loop, so that a health probe never waits for a whole burst."""

import asyncio
from collections import deque
from collections.abc import Callable

PER_TURN = 8  # a video costs the event loop about 1 ms before it waits for anything


class Pace:
    """Runs calls in order, at most `per_turn` in a turn of the event loop; the first ones at once."""

    def __init__(self, per_turn: int = PER_TURN) -> None:
        self._per_turn = self._left = per_turn
        self._calls: deque[Callable[[], object]] = deque()
        self._is_scheduled = False

    def call(self, function: Callable[[], object]) -> None:
        """Call `function` now, or in a later turn behind those that already wait."""
        self._calls.append(function)
        self._run()

    async def turn(self) -> None:
        """Return now, or in a later turn behind those that already wait."""
        due = asyncio.get_running_loop().create_future()

        def is_due() -> None:
            if not due.done():  # done if the caller was cancelled
                due.set_result(None)

        self.call(is_due)
        await due

    def _run(self) -> None:
        while self._left and self._calls:
            self._left -= 1
            self._calls.popleft()()
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_scheduled = False
        self._left = self._per_turn
        if self._calls:
            self._run()
