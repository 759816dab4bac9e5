"""BatchingQueue around a step that squares numbers, so that a swapped row shows."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest

from serving.scoring.admission import CLIENT
from serving.scoring.batching import BatchingQueue, QueueClosedError, Ran

pytestmark = pytest.mark.anyio
Queue = BatchingQueue[int, int]


class Squares:
    """Squares numbers and remembers the batches; `gate` holds every batch until it is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self.gate.wait()
        self.batches.append(list(batch))
        if 13 in batch:
            raise ValueError("13")
        return [number**2 for number in batch]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 a queue has no event for it
        await asyncio.sleep(0.001)


def queue_of(squares: Squares, executor: ThreadPoolExecutor, max_batch_size: int = 4) -> Queue:
    """A queue over `squares` in which each number is its own length."""
    return BatchingQueue(squares, executor, max_batch_size, length=lambda number: number)


@asynccontextmanager
async def served(
    step: Callable[[Sequence[int]], list[int]],
    max_batch_size: int = 4,
    *,
    at_once: int = 1,
    partner: Queue | None = None,
    max_length: int | None = None,
    **options: Any,
) -> AsyncIterator[Queue]:
    """A running queue in which each number is its own length."""
    with ThreadPoolExecutor(at_once) as executor:
        queue = Queue(
            step, executor, max_batch_size, lambda number: number, partner, at_once, max_length, **options
        )
        async with queue:
            yield queue


async def test_clients_take_turns() -> None:
    """An item of a new client is in the next batch, whatever another client has queued before it."""
    squares, order = Squares(), list[int]()

    async def ask(client: str, number: int) -> None:
        CLIENT.set(client)
        await queue.submit(number)
        order.append(number)

    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor, max_batch_size=2) as queue:
            squares.gate.clear()
            flood = [asyncio.create_task(ask("flood", number)) for number in range(20, 60)]
            await until(lambda: queue.running is not None and queue.depth >= 38)
            other = asyncio.create_task(ask("other", 3))
            await until(lambda: queue.depth >= 39)
            squares.gate.set()
            await asyncio.gather(other, *flood)
    assert order.index(3) < 6


@pytest.mark.parametrize("at_once", [1, 3])
async def test_each_item_gets_its_own_result(at_once: int) -> None:
    """A hundred concurrent items each get their own square; a failing batch fails its own items only."""
    async with served(Squares(), 2, at_once=at_once) as queue:
        numbers = [*range(14, 114), 13]
        outcomes = await asyncio.gather(*map(queue.submit, numbers), return_exceptions=True)
    failed = {number for number, ran in zip(numbers, outcomes, strict=True) if isinstance(ran, ValueError)}
    assert 13 in failed
    assert len(failed) <= 2
    results = {
        number: ran.result for number, ran in zip(numbers, outcomes, strict=True) if isinstance(ran, Ran)
    }
    assert results == {number: number**2 for number in numbers if number not in failed}


async def test_single_item_does_not_wait() -> None:
    squares = Squares()
    async with served(squares) as queue:
        assert (await queue.submit(3)).result == 9
    assert squares.batches == [[3]]


async def prepared(queue: Queue, number: int, ready: asyncio.Event) -> Ran[int]:
    """The result for `number`, which is submitted once `ready` is set."""
    with queue.expecting():
        await ready.wait()
    return await queue.submit(number)


async def test_items_that_follow_closely_are_one_batch() -> None:
    """A batch that is not full waits for an item in preparation."""
    squares, ready, ready_now = Squares(), asyncio.Event(), asyncio.Event()
    ready_now.set()
    async with served(squares, max_gap_s=60) as queue:
        coming = asyncio.create_task(prepared(queue, 2, ready))
        here = asyncio.create_task(prepared(queue, 1, ready_now))
        await until(lambda: queue.depth == 1)
        assert queue.running is None
        ready.set()
        await asyncio.gather(coming, here)
    assert squares.batches == [[1, 2]]


async def test_an_item_long_in_preparation_delays_nothing() -> None:
    """Other items are run without it, and without one whose preparation fails."""
    squares, never = Squares(), asyncio.Event()
    async with served(squares) as queue:
        coming = asyncio.create_task(prepared(queue, 2, never))
        assert (await queue.submit(1)).result == 1
        coming.cancel()
    async with served(squares, max_gap_s=60) as queue:
        failing = asyncio.create_task(prepared(queue, 2, never))
        here = asyncio.create_task(queue.submit(1))
        await until(lambda: queue.depth == 1)
        failing.cancel()
        assert (await here).result == 1
    assert squares.batches == [[1], [1]]


async def test_failing_preparations_do_not_hold_a_batch_up_for_ever() -> None:
    """A batch waits for at most `max_batch_size` preparations, here four of nine."""
    squares, never = Squares(), asyncio.Event()
    async with served(squares, 4, max_gap_s=3600) as queue:
        coming = [asyncio.create_task(prepared(queue, 2, never)) for _ in range(9)]
        here = asyncio.create_task(queue.submit(1))
        await until(lambda: queue.depth == 1)
        for task in coming[:4]:
            task.cancel()
            await asyncio.sleep(0.01)  # the queue notices each separately
        assert (await asyncio.wait_for(here, 60)).result == 1
        for task in coming:
            task.cancel()


async def test_a_full_batch_waits_for_nothing() -> None:
    """Not even for items in preparation."""
    squares, never = Squares(), asyncio.Event()
    async with served(squares, 2, max_gap_s=60) as queue:
        coming = asyncio.create_task(prepared(queue, 3, never))
        await asyncio.gather(*map(queue.submit, (1, 2)))
        coming.cancel()
    assert squares.batches == [[1, 2]]


async def test_a_batch_has_one_of_the_given_sizes() -> None:
    """With sizes 1, 2, 4 and 8, five items run as four and one, and six items as four and two."""
    squares = Squares()
    async with served(squares, 8, sizes=(1, 2, 4, 8)) as queue:
        await asyncio.gather(*map(queue.submit, (1,) * 5))
        await asyncio.gather(*map(queue.submit, (1,) * 6))
    assert [len(batch) for batch in squares.batches] == [4, 1, 4, 2]


async def test_batch_holds_similar_lengths_in_order() -> None:
    """The next batch is the oldest item and those nearest in length, shortest first."""
    squares = Squares()
    async with served(squares, 3) as queue:
        squares.gate.clear()
        first = asyncio.create_task(queue.submit(1))
        await until(lambda: queue.running is not None)
        tasks = [asyncio.create_task(queue.submit(number)) for number in (5, 100, 7, 102, 6, 101)]
        await until(lambda: queue.depth == 6)
        squares.gate.set()
        await asyncio.gather(first, *tasks)
    assert squares.batches == [[1], [5, 6, 7], [100, 101, 102]]


async def test_failed_batch_fails_its_items_only() -> None:
    """An error, a lost row or SystemExit reaches the batch's items; the queue continues."""

    def step(batch: Sequence[int]) -> list[int]:
        if 99 in batch:
            raise SystemExit(3)
        return [] if 98 in batch else Squares()(batch)

    async with served(step, 1) as queue:
        for number, error in (13, "13"), (98, "0 results for 1 items"), (99, "the step raised SystemExit"):
            with pytest.raises((ValueError, RuntimeError), match=error):
                await queue.submit(number)
            assert (await queue.submit(5)).result == 25


async def test_cancelled_item_is_not_run() -> None:
    squares = Squares()
    async with served(squares, 1) as queue:
        squares.gate.clear()
        running = asyncio.create_task(queue.submit(2))
        await until(lambda: queue.running is not None)
        abandoned = asyncio.create_task(queue.submit(99))
        await until(lambda: queue.depth == 1)
        abandoned.cancel()
        squares.gate.set()
        assert (await running).result == 4
        assert (await queue.submit(3)).result == 9
    assert squares.batches == [[2], [3]]


@pytest.mark.parametrize("at_once", [1, 2])
async def test_closing_fails_all_items(at_once: int) -> None:
    """Those in running batches, those that are queued, and later ones."""
    squares = Squares()
    async with served(squares, 1, at_once=at_once) as queue:
        squares.gate.clear()
        tasks = [asyncio.create_task(queue.submit(number)) for number in (2, 3, 4)]
        await until(lambda: queue.depth == 3 - at_once)
        await queue.__aexit__()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        squares.gate.set()
        assert [type(outcome) for outcome in outcomes] == [QueueClosedError] * 3
        with pytest.raises(QueueClosedError):
            await queue.submit(5)


async def test_partial_batch_waits_for_the_partner() -> None:
    """Items that are not urgent and arrive during a batch of the partner run together when it ends."""
    squares, partner_step = Squares(), Squares()
    async with served(partner_step) as partner, served(squares, partner=partner) as queue:
        partner_step.gate.clear()
        running = asyncio.create_task(partner.submit(1))
        await until(lambda: partner.running is not None)
        patient = [asyncio.create_task(queue.submit(2, urgent=False))]
        await until(lambda: queue.depth == 1)
        patient.append(asyncio.create_task(queue.submit(3, urgent=False)))
        await until(lambda: queue.depth == 2)
        partner_step.gate.set()
        await asyncio.gather(running, *patient)
    assert squares.batches == [[2, 3]]


@pytest.mark.parametrize(("numbers", "urgent"), [((2, 3), True), ((2, 3, 4, 5), False)])
async def test_urgent_or_full_batch_does_not_wait(numbers: tuple[int, ...], urgent: bool) -> None:
    """An urgent item or a full batch runs beside the partner's batch."""
    squares, partner_step = Squares(), Squares()
    async with served(partner_step) as partner, served(squares, partner=partner) as queue:
        partner_step.gate.clear()
        running = asyncio.create_task(partner.submit(1))
        await until(lambda: partner.running is not None)
        await asyncio.gather(
            *(queue.submit(number, urgent=urgent and number == numbers[-1]) for number in numbers)
        )
        assert not running.done()
        partner_step.gate.set()
        await running
    assert squares.batches == [list(numbers)]


async def test_partial_batch_waits_while_the_partner_runs_earlier_requests() -> None:
    """Until one of the client's items is in the partner's batch: here the third batch of two items."""
    gate, order = threading.Event(), list[str]()

    def partner_step(batch: Sequence[int]) -> list[int]:
        gate.wait()
        order.append("partner")
        return list(batch)

    def step(batch: Sequence[int]) -> list[int]:
        order.append("own")
        return list(batch)

    async with served(partner_step, 2) as partner, served(step, partner=partner) as queue:
        tasks = [asyncio.create_task(partner.submit(number)) for number in range(6)]
        await until(lambda: partner.depth == 4)
        tasks.append(asyncio.create_task(queue.submit(6, urgent=False)))
        await until(lambda: queue.depth == 1)
        gate.set()
        await asyncio.gather(*tasks)
    assert order[:2] == ["partner", "partner"]
    assert order.count("own") == 1


async def test_other_clients_items_at_the_partner_delay_nothing() -> None:
    """A client with no item queued there waits for one batch, not for another client's queue."""
    permits, squares = threading.Semaphore(0), Squares()

    def partner_step(batch: Sequence[int]) -> list[int]:
        permits.acquire()
        return list(batch)

    async with served(partner_step, 2) as partner, served(squares, partner=partner) as queue:
        tasks = [asyncio.create_task(partner.submit(number)) for number in range(6)]
        await until(lambda: partner.depth == 4)
        CLIENT.set("another")
        own = asyncio.create_task(queue.submit(6, urgent=False))
        await until(lambda: queue.depth == 1)
        permits.release()
        try:
            async with asyncio.timeout(60):
                await own
        finally:
            permits.release(2)
        await asyncio.gather(*tasks)
    assert squares.batches == [[6]]


async def test_lengths_of_a_batch_add_up_to_the_limit_at_most() -> None:
    """Items that do not fit are in the next batch; one longer than the limit is a batch of its own."""
    squares = Squares()
    async with served(squares, max_length=10) as queue:
        squares.gate.clear()
        tasks = [asyncio.create_task(queue.submit(1))]
        await until(lambda: queue.running is not None)
        tasks += [asyncio.create_task(queue.submit(number)) for number in (6, 5, 4, 12)]
        await until(lambda: queue.depth == 4)
        squares.gate.set()
        assert [ran.result for ran in await asyncio.gather(*tasks)] == [1, 36, 25, 16, 144]
    assert squares.batches == [[1], [6], [4, 5], [12]]


async def test_item_does_not_wait_for_an_idle_partner() -> None:
    """Nor for one whose batch has failed."""
    async with served(Squares()) as partner, served(Squares(), partner=partner) as queue:
        assert (await queue.submit(2, urgent=False)).result == 4
        with pytest.raises(ValueError, match="13"):
            await partner.submit(13)
        assert (await queue.submit(3, urgent=False)).result == 9


async def test_at_most_at_once_batches_run_concurrently() -> None:
    """With two at once, a second batch runs beside the first; later items are queued and run together."""
    squares = Squares()
    async with served(squares, at_once=2) as queue:
        squares.gate.clear()
        tasks = []
        for number, queued, started in ((2, 0, 1), (3, 0, 2), (4, 1, 2), (5, 2, 2)):
            tasks.append(asyncio.create_task(queue.submit(number)))
            await until(lambda: queue.depth == queued and queue.batches.total() == started)  # noqa: B023
        assert queue.running == 1
        squares.gate.set()
        assert [ran.result for ran in await asyncio.gather(*tasks)] == [4, 9, 16, 25]
        assert queue.running is None
    assert sorted(squares.batches) == [[2], [3], [4, 5]]


async def test_batches_on_the_event_loop_leave_it_to_others() -> None:
    """Without an executor, other tasks run between batches; a failing batch fails its own items only."""
    squares, seen = Squares(), list[int]()

    async def other() -> None:
        while True:
            seen.append(len(squares.batches))
            await asyncio.sleep(0)

    async with Queue(squares, None, 1) as queue:
        bystander = asyncio.create_task(other())
        outcomes = await asyncio.gather(*map(queue.submit, [13, *range(20)]), return_exceptions=True)
        bystander.cancel()
    assert isinstance(outcomes[0], ValueError)
    assert [ran.result for ran in outcomes[1:14] if isinstance(ran, Ran)] == [n**2 for n in range(13)]
    assert set(range(1, 20)) <= set(seen), "the loop was held over several batches"
