"""BatchingQueue around a step that squares numbers, so that a swapped row shows."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.scoring.batching import BatchingQueue, QueueClosedError, Ran

pytestmark = pytest.mark.anyio


class Squares:
    """Squares numbers and remembers the batches; `gate` holds every batch until it is set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self.gate.wait(10)
        self.batches.append(list(batch))
        if 13 in batch:
            raise ValueError("13")
        return [number**2 for number in batch]


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    while not condition():  # noqa: ASYNC110 a queue has no event for it
        await asyncio.sleep(0.001)


def queue_of(
    squares: Squares, executor: ThreadPoolExecutor, max_batch_size: int = 4
) -> BatchingQueue[int, int]:
    """A queue over `squares` in which a number's length is itself."""
    return BatchingQueue(squares, executor, max_batch_size, length=lambda number: number)


async def test_each_item_gets_its_own_result() -> None:
    """A hundred concurrent items each get their own square."""
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(Squares(), executor) as queue:
            results = await asyncio.gather(*(queue.submit(number) for number in range(14, 114)))
    assert [ran.result for ran in results] == [number**2 for number in range(14, 114)]


async def test_lone_item_waits_for_nobody() -> None:
    """An item that is alone is run alone."""
    squares = Squares()
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor) as queue:
            assert (await queue.submit(3)).result == 9
    assert squares.batches == [[3]]


async def test_batch_holds_similar_lengths_in_order() -> None:
    """The next batch is the longest-waiting item and those nearest in length, shortest first."""
    squares = Squares()
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor, max_batch_size=3) as queue:
            squares.gate.clear()
            tasks = [asyncio.create_task(queue.submit(number)) for number in (5, 100, 7, 102, 6, 101)]
            await asyncio.sleep(0.05)
            squares.gate.set()
            await asyncio.gather(*tasks)
    assert squares.batches == [[5, 6, 7], [100, 101, 102]]


async def test_failing_batch_fails_each_of_its_waiters_and_no_other() -> None:
    """What a batch raises reaches its waiters; the queue goes on."""
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(Squares(), executor, max_batch_size=1) as queue:
            failed, fine = await asyncio.gather(queue.submit(13), queue.submit(4), return_exceptions=True)
            assert isinstance(failed, ValueError)
            assert isinstance(fine, Ran)
            assert fine.result == 16
            assert (await queue.submit(5)).result == 25


async def test_wrong_number_of_results_fails_the_batch() -> None:
    """A step that loses a row fails its waiters rather than shifting the others' results."""
    with ThreadPoolExecutor(1) as executor:
        async with BatchingQueue[int, int](lambda batch: list(batch)[1:], executor, 4) as queue:
            with pytest.raises(RuntimeError, match="0 results for 1 items"):
                await queue.submit(1)


async def test_item_whose_client_left_is_not_run() -> None:
    """An item that was cancelled while it waited never reaches the step."""
    squares = Squares()
    with ThreadPoolExecutor(1) as executor:
        async with queue_of(squares, executor, max_batch_size=1) as queue:
            squares.gate.clear()
            running = asyncio.create_task(queue.submit(2))
            await asyncio.sleep(0.05)
            abandoned = asyncio.create_task(queue.submit(99))
            await asyncio.sleep(0.05)
            abandoned.cancel()
            squares.gate.set()
            assert (await running).result == 4
            assert (await queue.submit(3)).result == 9
    assert [99] not in squares.batches


async def test_closing_answers_those_who_wait() -> None:
    """A closing queue tells each waiter, and takes no more items."""
    squares = Squares()
    with ThreadPoolExecutor(1) as executor:
        queue = queue_of(squares, executor, max_batch_size=1)
        async with queue:
            squares.gate.clear()
            tasks = [asyncio.create_task(queue.submit(number)) for number in (2, 3)]
            await asyncio.sleep(0.05)
            squares.gate.set()
            squares.gate.clear()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        squares.gate.set()
        assert any(isinstance(outcome, QueueClosedError) for outcome in outcomes)
        with pytest.raises(QueueClosedError):
            await queue.submit(4)


async def test_partial_batch_waits_for_the_partners_batch() -> None:
    """Patient items that come one by one while the partner runs a batch go together when it ends."""
    squares, partner_step = Squares(), Squares()
    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as other:
        async with queue_of(partner_step, other) as partner, partnered(squares, executor, partner) as queue:
            partner_step.gate.clear()
            running = asyncio.create_task(partner.submit(1))
            await asyncio.sleep(0.05)
            patient = [asyncio.create_task(queue.submit(number, urgent=False)) for number in (2, 3)]
            await asyncio.sleep(0.05)
            assert squares.batches == []
            partner_step.gate.set()
            await asyncio.gather(running, *patient)
    assert squares.batches == [[2, 3]]


@pytest.mark.parametrize(("numbers", "urgent"), [((2, 3), True), ((2, 3, 4, 5), False)])
async def test_urgent_or_full_batch_does_not_wait(numbers: tuple[int, ...], urgent: bool) -> None:
    """An urgent item, or a full batch of patient ones, goes while the partner still runs."""
    squares, partner_step = Squares(), Squares()
    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as other:
        async with queue_of(partner_step, other) as partner, partnered(squares, executor, partner) as queue:
            partner_step.gate.clear()
            running = asyncio.create_task(partner.submit(1))
            await asyncio.sleep(0.05)
            *patient, last = (
                asyncio.create_task(queue.submit(number, urgent=urgent and number == numbers[-1]))
                for number in numbers
            )
            await asyncio.wait_for(asyncio.gather(*patient, last), 5)
            assert not running.done()
            partner_step.gate.set()
            await running
    assert squares.batches == [list(numbers)]


async def test_patient_item_goes_at_once_beside_an_idle_partner() -> None:
    """An item waits for no partner that has nothing to do, and for no failed batch of one."""
    squares, partner_step = Squares(), Squares()
    with ThreadPoolExecutor(1) as executor, ThreadPoolExecutor(1) as other:
        async with queue_of(partner_step, other) as partner, partnered(squares, executor, partner) as queue:
            assert (await asyncio.wait_for(queue.submit(2, urgent=False), 5)).result == 4
            with pytest.raises(ValueError, match="13"):
                await partner.submit(13)
            assert (await asyncio.wait_for(queue.submit(3, urgent=False), 5)).result == 9


async def test_so_many_batches_run_at_once_and_no_more() -> None:
    """With two at once, a second batch runs beside the first, and what comes then waits and goes together."""
    squares = Squares()
    with ThreadPoolExecutor(8) as executor:
        async with BatchingQueue[int, int](squares, executor, 4, at_once=2) as queue:
            squares.gate.clear()
            tasks = []
            for number, waiting in ((2, 0), (3, 0), (4, 1), (5, 2)):
                tasks.append(asyncio.create_task(queue.submit(number)))
                await asyncio.sleep(0.02)
                assert (queue.depth, sum(queue.batches.values())) == (waiting, min(number - 1, 2))
            assert queue.running == 1
            squares.gate.set()
            assert [ran.result for ran in await asyncio.gather(*tasks)] == [4, 9, 16, 25]
    assert sorted(squares.batches) == [[2], [3], [4, 5]]
    assert queue.running is None


async def test_each_of_a_hundred_gets_its_own_result_from_batches_at_once() -> None:
    """No row is swapped between batches that run beside each other, and a failing one fails its own alone."""
    squares = Squares()
    with ThreadPoolExecutor(3) as executor:
        async with BatchingQueue[int, int](squares, executor, 2, at_once=3) as queue:
            numbers = [*range(14, 114), 13]
            outcomes = await asyncio.gather(*map(queue.submit, numbers), return_exceptions=True)
    failed = {number for number, ran in zip(numbers, outcomes, strict=True) if isinstance(ran, ValueError)}
    assert 13 in failed
    assert len(failed) <= 2
    assert all(
        ran.result == number**2 for number, ran in zip(numbers, outcomes, strict=True) if number not in failed
    )  # type: ignore[union-attr]


async def test_closing_answers_those_in_every_batch() -> None:
    """Who is in one of several running batches is told, as is who waits; later ones are refused."""
    squares = Squares()
    with ThreadPoolExecutor(2) as executor:
        queue = BatchingQueue[int, int](squares, executor, 1, at_once=2)
        async with queue:
            squares.gate.clear()
            tasks = [asyncio.create_task(queue.submit(number)) for number in (2, 3, 4)]
            await asyncio.sleep(0.05)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        squares.gate.set()
        assert [type(outcome) for outcome in outcomes] == [QueueClosedError] * 3
        with pytest.raises(QueueClosedError):
            await queue.submit(5)


async def test_step_that_exits_fails_its_batch() -> None:
    """SystemExit in a step fails its batch; the queue goes on."""

    def leave(numbers: Sequence[int]) -> list[int]:
        if 13 in numbers:
            raise SystemExit(3)
        return list(numbers)

    with ThreadPoolExecutor(1) as executor:
        async with BatchingQueue[int, int](leave, executor, 4) as queue:
            with pytest.raises(RuntimeError, match="SystemExit"):
                await queue.submit(13)
            assert (await queue.submit(5)).result == 5


def partnered(
    squares: Squares, executor: ThreadPoolExecutor, partner: BatchingQueue[int, int]
) -> BatchingQueue[int, int]:
    """A queue whose patient items wait for `partner`'s batch."""
    return BatchingQueue(squares, executor, 4, partner=partner)
