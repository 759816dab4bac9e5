"""Bursts are spread over turns of the event loop, and a health probe does not wait for them."""

import asyncio
from typing import Any

import pytest

from serving.http.middleware import RequestContext
from serving.observability.metrics import Metrics
from serving.scoring.admission import Pace

pytestmark = pytest.mark.anyio
BURST, PER_TURN = 100, 8


async def test_calls_are_made_in_order_a_few_in_a_turn() -> None:
    """The first ones at once, the others in later turns of the event loop."""
    pace, made, turns = Pace(PER_TURN), list[int](), list[int]()
    for number in range(BURST):
        pace.call(lambda number=number: made.append(number))  # type: ignore[misc]
    while len(made) < BURST:
        turns.append(len(made))
        await asyncio.sleep(0)
    assert made == list(range(BURST))
    assert turns == [*range(PER_TURN, BURST, PER_TURN)]


async def test_a_call_after_the_burst_is_made_at_once() -> None:
    """Once nothing waits, a call runs before `call` returns."""
    pace, made = Pace(1), list[int]()
    for number in range(3):
        pace.call(lambda number=number: made.append(number))  # type: ignore[misc]
    for _ in range(5):
        await asyncio.sleep(0)
    pace.call(lambda: made.append(3))
    assert made == [0, 1, 2, 3]


async def test_a_cancelled_turn_takes_nothing_from_the_others() -> None:
    """A turn whose task was cancelled is skipped."""
    pace = Pace(1)
    first, gone, last = (asyncio.create_task(pace.turn()) for _ in range(3))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait_for(asyncio.gather(first, last), 60)
    assert gone.cancelled()


async def test_a_probe_does_not_wait_for_a_burst_of_requests() -> None:
    """Requests start a few in a turn of the event loop, probes at once."""
    started = list[str]()

    async def app(scope: Any, *_: object) -> None:
        started.append(scope["path"])

    context = RequestContext(app, Metrics(), timeout_s=60)
    paths = ["/predict"] * BURST + ["/health/live"]
    async with asyncio.TaskGroup() as group:
        for path in paths:
            scope: dict[str, Any] = {
                "type": "http",
                "method": "GET",
                "path": path,
                "headers": [],
                "client": None,
            }
            group.create_task(context(scope, _never, _never))
    assert sorted(started) == sorted(paths)
    assert started.index("/health/live") <= PER_TURN


async def _never(*_: object) -> Any:
    raise AssertionError("the app asks for nothing")
