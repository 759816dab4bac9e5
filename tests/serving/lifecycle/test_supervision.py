"""Forwards that hang, queues that end, and failures that are probed, around a step that squares numbers."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from serving.errors import EngineFailedError
from serving.lifecycle.supervision import FAILURES_PER_PROBE, Supervisor
from serving.scoring.batching import BatchingQueue, QueueClosedError
from tests.serving.scoring.test_batching import Squares, queue_of, until

pytestmark = pytest.mark.anyio
HUNG = "a forward of the text step did not finish within 0.05 s (MILES_FORWARD_TIMEOUT_S)"


class Probe:
    """Fails a given number of times, then succeeds."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls = 0

    async def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise MemoryError("on cue")


def supervisor_of(
    queue: BatchingQueue[Any, Any], faults: list[str], step: str = "text", timeout_s: float = 0.05
) -> Supervisor:
    """A supervisor that checks one queue a hundred times a second."""
    return Supervisor({step: queue}, Probe(), timeout_s, faults.append, check_interval_s=0.01)


async def test_hung_forward_fails_all_waiting_items_and_is_reported_once() -> None:
    """A batch that does not finish in time fails its items, those behind it, and later ones."""
    squares, faults = Squares(), list[str]()
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor, max_batch_size=1) as queue:
            squares.gate.clear()
            waiting = [asyncio.create_task(queue.submit(number)) for number in (2, 3)]
            async with supervisor_of(queue, faults) as supervisor:
                outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [EngineFailedError, EngineFailedError]
            with pytest.raises(QueueClosedError):
                await queue.submit(4)
            squares.gate.set()
    assert faults == [supervisor.fault] == [HUNG]


async def test_one_hung_forward_of_several_is_detected() -> None:
    """Batches that run beside it and finish do not hide it."""
    squares, hung, faults = Squares(), threading.Event(), list[str]()

    def step(batch: Sequence[int]) -> list[int]:
        if 2 in batch:
            hung.wait()
        time.sleep(0.02)  # two checks long: one has always just started
        return squares(batch)

    async def ask_on() -> int:
        answered = 0
        while True:
            try:
                await queue.submit(3)
            except (EngineFailedError, QueueClosedError):
                return answered
            answered += 1

    with ThreadPoolExecutor(2) as executor:
        async with BatchingQueue[int, int](step, executor, 1, at_once=2) as queue:
            waiting = asyncio.create_task(queue.submit(2))
            await until(lambda: queue.running is not None)
            beside = asyncio.create_task(ask_on())
            await until(lambda: len(squares.batches) > 2)
            async with supervisor_of(queue, faults):
                with pytest.raises(EngineFailedError):
                    await waiting
            hung.set()
            assert await beside > 1
    assert faults == [HUNG]


async def test_many_short_forwards_are_not_a_hang() -> None:
    """A queue that is never idle is healthy as long as its batches finish."""
    squares = Squares()
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor, max_batch_size=1) as queue:
            supervisor = supervisor_of(queue, [], timeout_s=0.02)
            for number in range(20, 40):
                squares.gate.clear()
                waiting = asyncio.create_task(queue.submit(number))
                await until(lambda: queue.running is not None)
                assert supervisor.check() is None
                squares.gate.set()
                assert (await waiting).result == number**2


async def test_suspended_process_is_not_a_hang() -> None:
    """Time without checks does not count: two checks far apart find nothing, the next one finds the hang."""
    squares = Squares()
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor) as queue:
            squares.gate.clear()
            waiting = asyncio.create_task(queue.submit(2))
            await until(lambda: queue.running is not None)
            supervisor = supervisor_of(queue, [], timeout_s=0.02)
            assert supervisor.check() is None
            await asyncio.sleep(0.1)
            assert [supervisor.check() is None for _ in range(2)] == [True, False]
            squares.gate.set()
            assert (await waiting).result == 4


async def test_queue_that_ends_fails_its_items_and_is_reported() -> None:
    """If a queue's loop fails, waiting items fail at once, and the fault names the step."""

    seen: list[int] = []

    def length(number: int) -> int:
        seen.append(number)
        if seen.count(13) == 2:  # once for its turn; the second time is in the queue's loop
            raise KeyError("thirteen")
        return number

    faults: list[str] = []
    with ThreadPoolExecutor(1) as executor:
        async with BatchingQueue[int, int](Squares(), executor, 4, length=length) as queue:
            with pytest.raises(QueueClosedError, match="thirteen"):
                await queue.submit(13)
            async with supervisor_of(queue, faults, "fusion"):
                await until(lambda: faults != [])
    assert faults == ["the queue of the fusion step has ended; see the log"]


async def faults_after(probe: Probe, failures: int) -> list[str]:
    """The faults reported after this many failed forwards."""
    faults: list[str] = []
    async with Supervisor({}, probe, 10, faults.append, probe_delay_s=0) as supervisor:
        for _ in range(failures):
            supervisor.report_failure()
            for _ in range(20):
                await asyncio.sleep(0)
    return faults


async def test_few_failures_are_not_probed() -> None:
    """They are put down to their requests."""
    probe = Probe()
    assert await faults_after(probe, FAILURES_PER_PROBE - 1) == []
    assert probe.calls == 0


async def test_model_that_passes_its_probes_is_not_at_fault() -> None:
    """It is probed after every eighth failure, not after each; one failed attempt is tolerated."""
    probe = Probe(failures=1)
    assert await faults_after(probe, 3 * FAILURES_PER_PROBE) == []
    assert probe.calls == 4


async def test_model_that_fails_its_probe_is_reported_once() -> None:
    """With the last error."""
    fault = "the model fails on every input: MemoryError: on cue"
    assert await faults_after(Probe(failures=99), 2 * FAILURES_PER_PROBE) == [fault]
