"""Forwards that hang and queues that end, around a step that squares numbers."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.errors import EngineFailedError
from serving.lifecycle.supervision import Watchdog
from serving.scoring.batching import BatchingQueue, QueueClosedError
from tests.serving.scoring.test_batching import Squares, queue_of

pytestmark = pytest.mark.anyio


async def test_hung_forward_fails_everybody_and_is_told_once() -> None:
    """A batch that does not end in time fails its items, those behind it, and whoever comes later."""
    squares, faults = Squares(), []
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor, max_batch_size=1) as queue:
            squares.gate.clear()
            waiting = [asyncio.create_task(queue.submit(number)) for number in (2, 3)]
            await asyncio.wait_for(Watchdog({"text": queue}, 0.05, faults.append, tick_s=0.01).run(), 5)
            outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 1)
            assert [type(outcome) for outcome in outcomes] == [EngineFailedError, EngineFailedError]
            with pytest.raises(QueueClosedError):
                await queue.submit(4)
            squares.gate.set()
    assert faults == ["a forward of the text step has not ended within 0.05 s (MILES_FORWARD_TIMEOUT_S)"]


async def test_one_of_several_forwards_that_hangs_is_noticed() -> None:
    """Batches that run beside it and end do not hide it."""
    squares, hung, faults = Squares(), threading.Event(), list[str]()

    def step(batch: Sequence[int]) -> list[int]:
        if 2 in batch:
            hung.wait(10)
        time.sleep(0.02)  # two looks long: there is always one that has just begun
        return squares(batch)

    with ThreadPoolExecutor(2) as executor:
        async with BatchingQueue[int, int](step, executor, 1, at_once=2) as queue:
            waiting = asyncio.create_task(queue.submit(2))
            await asyncio.sleep(0.01)
            beside = asyncio.create_task(ask_on(queue))
            watch = asyncio.create_task(Watchdog({"text": queue}, 0.05, faults.append, tick_s=0.01).run())
            await asyncio.wait([watch], timeout=2)
            assert len(faults) == 1
            hung.set()
            with pytest.raises(EngineFailedError):
                await waiting
            assert await beside > 1


async def ask_on(queue: BatchingQueue[int, int]) -> int:
    """Ask for one square after another until the queue fails; how many there were."""
    answered = 0
    while True:
        try:
            await queue.submit(3)
        except (EngineFailedError, QueueClosedError):
            return answered
        answered += 1


async def test_many_short_forwards_are_no_hang() -> None:
    """A queue that is never idle is all right as long as its batches end."""
    squares = Squares()
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor, max_batch_size=1) as queue:
            watchdog = Watchdog({"text": queue}, 0.02, pytest.fail, tick_s=0.01)
            for number in range(20, 40):
                squares.gate.clear()
                waiting = asyncio.create_task(queue.submit(number))
                await asyncio.sleep(0.005)
                assert queue.running is not None
                assert watchdog.look() is None
                squares.gate.set()
                assert (await waiting).result == number**2


async def test_stopped_process_is_no_hang() -> None:
    """Time that passes while nobody looks does not count: a paused process finds its forward as it was."""
    squares = Squares()
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor) as queue:
            squares.gate.clear()
            waiting = asyncio.create_task(queue.submit(2))
            await asyncio.sleep(0.01)
            watchdog = Watchdog({"text": queue}, 0.02, pytest.fail, tick_s=0.01)
            assert watchdog.look() is None
            await asyncio.sleep(0.2)
            assert watchdog.look() is None
            squares.gate.set()
            assert (await waiting).result == 4


async def test_queue_that_ends_answers_those_who_wait() -> None:
    """Whatever ends a queue's loop, its waiters hear of it at once, and the watchdog says which it was."""

    def length(number: int) -> int:
        if number == 13:
            raise KeyError("thirteen")
        return number

    with ThreadPoolExecutor(1) as executor:
        async with BatchingQueue[int, int](Squares(), executor, 4, length=length) as queue:
            with pytest.raises(QueueClosedError, match="thirteen"):
                await asyncio.wait_for(queue.submit(13), 1)
            faults: list[str] = []
            await asyncio.wait_for(Watchdog({"fusion": queue}, 10, faults.append, tick_s=0.01).run(), 5)
    assert faults == ["the queue of the fusion step has ended; the log says why"]


async def test_step_that_wants_to_exit_fails_its_batch() -> None:
    """A step that raises what is no ordinary error fails its batch alone; the queue goes on."""

    def leave(numbers: Sequence[int]) -> list[int]:
        if 13 in numbers:
            raise SystemExit(3)
        return list(numbers)

    with ThreadPoolExecutor(1) as executor:
        async with BatchingQueue[int, int](leave, executor, 4) as queue:
            with pytest.raises(RuntimeError, match="SystemExit"):
                await asyncio.wait_for(queue.submit(13), 1)
            assert (await queue.submit(5)).result == 5
