"""A queue in front of one step of the network. Knows neither HTTP nor the engine.

When the step is free, up to `max_batch_size` queued items of similar length form the next batch. A larger
batch costs less per item, so one that is not full waits in two cases. While items in preparation arrive in
quick succession, it waits for them; a single client never has to. And a queue may have a partner queue that
the same requests wait for: while the partner runs batches of other requests, this queue waits.
Clients take turns: an item's turn is the work that its client has queued before it (start-time fair queuing,
Goyal et al., 1996). Every accepted item gets its result, its batch's error, or `QueueClosedError`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, Self, TypeVar

from serving.scoring.admission import CLIENT

LOOK_AHEAD = 8  # batches' worth of items that are searched for similar lengths
# Between items that a batch waits for; a typical picture is decoded in half this time.
MAX_GAP_S = 0.01
Item = TypeVar("Item")
Result = TypeVar("Result")


class QueueClosedError(Exception):
    """The queue was closed before this item was run."""


@dataclass(frozen=True, slots=True)
class Ran(Generic[Result]):
    """An item's result, how long it was queued, and how long its batch ran."""

    result: Result
    waited_s: float
    ran_s: float


@dataclass(slots=True)
class _Waiter(Generic[Item, Result]):
    item: Item
    answer: "asyncio.Future[Ran[Result]]"
    arrived: float
    urgent: bool
    client: str
    turn: float


class BatchingQueue(Generic[Item, Result]):
    """Collects items from many tasks and runs them in batches within its context."""

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        executor: Executor | None,
        max_batch_size: int,
        length: Callable[[Item], int] = lambda _: 1,
        partner: "BatchingQueue[Any, Any] | None" = None,
        at_once: int = 1,
        max_length: int | None = None,
        sizes: Sequence[int] = (),
        max_gap_s: float = MAX_GAP_S,
    ) -> None:
        """`run` gets a batch in `executor` and returns one result per item, in order; without an executor
        it runs on the event loop, for a step that is faster than waking a thread.

        Items of similar `length` waste the least padding; those of a batch add up to at most `max_length`,
        unless there is only one. Where `sizes` are given, a batch has the largest of them that it can fill.
        Items that are not urgent may wait for batches that `partner` is running, and all wait for items in
        preparation as long as one is ready every `max_gap_s`. `at_once` batches run concurrently, each in a
        thread of `executor`; if it is above 1, none waits for items in preparation.
        """
        assert max_batch_size >= 1, "a batch holds at least one item"
        self.batches: Counter[int] = Counter()
        """The number of batches by size."""
        self._run, self._executor = run, executor
        self._max_batch_size, self._length, self._at_once = max_batch_size, length, at_once
        self._max_length, self._sizes, self._max_gap_s = max_length, sizes, max_gap_s
        self._waiters: list[_Waiter[Item, Result]] = []
        self._running: dict[int, list[_Waiter[Item, Result]]] = {}
        self._number = 0
        self._turn = 0.0
        self._next_turns: dict[str, float] = {}
        self._arrived = asyncio.Event()
        self._expected = 0
        self._changed = asyncio.Event()
        self._may_start = asyncio.Event()
        self._partner = partner
        self._on_end: list[asyncio.Event] = []
        if partner is not None:
            partner._on_end.append(self._may_start)
        self._loop_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop_task = asyncio.create_task(self._serve())
        self._loop_task.add_done_callback(self._close)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._loop_task is not None, "entered before it is left"
        self._loop_task.cancel()
        await asyncio.gather(self._loop_task, return_exceptions=True)

    @property
    def depth(self) -> int:
        """The number of items that wait to be run."""
        return len(self._waiters)

    @property
    def is_served(self) -> bool:
        """Whether items are taken from the queue."""
        return self._loop_task is not None and not self._loop_task.done()

    @property
    def running(self) -> int | None:
        """The number of the batch that has run for longest; None while none runs."""
        return min(self._running, default=None)

    async def submit(self, item: Item, *, urgent: bool = True) -> Ran[Result]:
        """The result for `item`. Raises what its batch raised, or `QueueClosedError`.

        An item that is not `urgent` belongs to a request that also waits for the partner.
        """
        if not self.is_served:
            raise QueueClosedError("the queue is not served")
        answer = asyncio.get_running_loop().create_future()
        client = CLIENT.get()
        turn = self._turn_of(item, client)
        self._waiters.append(_Waiter[Item, Result](item, answer, time.perf_counter(), urgent, client, turn))
        self._arrived.set()
        self._changed.set()
        if urgent or len(self._waiters) >= self._max_batch_size:
            self._may_start.set()
        ran: Ran[Result] = await answer
        return ran

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """A context for preparing an item, which is submitted next unless preparing it fails."""
        self._expected += 1
        try:
            yield
        finally:
            self._expected -= 1
            self._changed.set()

    def _turn_of(self, item: Item, client: str) -> float:
        """When the client is due, in units of length."""
        if not self._waiters:
            self._next_turns.clear()
        turn = max(self._turn, self._next_turns.get(client, 0.0))
        self._next_turns[client] = turn + self._length(item)
        return turn

    def fail(self, error: Exception) -> None:
        """Fail all items with `error`, those in a running batch included, and accept no more."""
        self._fail_all(error)
        if self._loop_task is not None:
            self._loop_task.cancel()

    def _close(self, task: "asyncio.Task[None]") -> None:
        """However the loop ended, no item may wait forever."""
        cause = None if task.cancelled() else task.exception()
        error = QueueClosedError(
            "the service is stopping" if cause is None else f"the queue failed: {cause!r}"
        )
        error.__cause__ = cause
        self._fail_all(error)

    def _fail_all(self, error: Exception) -> None:
        for batch in self._running.values():
            _fail(batch, error)
        _fail(self._waiters, error)
        self._waiters = []

    async def _serve(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._run_batches())

    async def _run_batches(self) -> None:
        while True:
            await self._arrived.wait()
            await self._wait_for_expected()
            await self._wait_for_partner()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            self._number += 1
            number = self._number
            self._running[number] = batch
            self.batches[len(batch)] += 1
            try:
                await self._answer(batch)
            finally:
                del self._running[number]
                for event in self._on_end:
                    event.set()
            if self._executor is None:
                await asyncio.sleep(0)  # many batches in a row must not block the event loop

    async def _wait_for_expected(self) -> None:
        """Wait for items in preparation that follow each other closely, unless the next batch is full."""
        for _ in range(self._max_batch_size):  # a limit, because preparations may keep failing
            if not self._expected or self._at_once > 1 or len(self._waiters) >= self._max_batch_size:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(self._max_gap_s):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _wait_for_partner(self) -> None:
        """Wait while the partner runs batches of other requests, unless the next batch is full or urgent."""
        partner = self._partner
        while partner is not None and partner._running:
            self._may_start.clear()
            is_full = len(self._waiters) >= self._max_batch_size
            if is_full or any(waiter.urgent for waiter in self._waiters):
                return
            await self._may_start.wait()
            # One client's items run in order: if it has more here than there, the partner's running batch
            # has one of them. Other clients' items there delay nothing here.
            there = Counter(waiter.client for waiter in partner._waiters)
            here = Counter(waiter.client for waiter in self._waiters)
            if any(count > there[client] for client, count in here.items()):
                return

    def _take(self) -> list[_Waiter[Item, Result]]:
        """The next batch: the item whose turn it is and those nearest to it in length, shortest first."""
        present = [waiter for waiter in self._waiters if not waiter.answer.done()]  # others are cancelled
        self._waiters = present
        if not present:
            return []
        next_ones = sorted(present, key=lambda waiter: waiter.turn)[: LOOK_AHEAD * self._max_batch_size]
        self._turn = next_ones[0].turn
        first = self._length(next_ones[0].item)
        by_distance = sorted(next_ones, key=lambda waiter: abs(self._length(waiter.item) - first))
        fitting = min(len(by_distance), self._max_batch_size)
        size = max((size for size in self._sizes if size <= fitting), default=fitting)
        batch = self._within_length(by_distance[:size])
        chosen = {id(waiter) for waiter in batch}
        self._waiters = [waiter for waiter in present if id(waiter) not in chosen]
        return sorted(batch, key=lambda waiter: self._length(waiter.item))

    def _within_length(self, batch: list[_Waiter[Item, Result]]) -> list[_Waiter[Item, Result]]:
        if self._max_length is None:
            return batch
        totals = accumulate(self._length(waiter.item) for waiter in batch)
        fitting = sum(total <= self._max_length for total in totals)
        return batch[: max(fitting, 1)]

    async def _answer(self, batch: list[_Waiter[Item, Result]]) -> None:
        loop, started = asyncio.get_running_loop(), time.perf_counter()
        try:
            items = [waiter.item for waiter in batch]
            if self._executor is None:
                results = self._run(items)
            else:
                results = await loop.run_in_executor(self._executor, self._run, items)
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except asyncio.CancelledError:
            _fail(batch, QueueClosedError("the service is stopping"))
            raise
        except Exception as exc:
            _fail(batch, exc)
            return
        except BaseException as exc:  # SystemExit in a step must not end the queue
            _fail(batch, RuntimeError(f"the step raised {exc!r}"))
            return
        ran_s = time.perf_counter() - started
        for waiter, result in zip(batch, results, strict=True):
            if not waiter.answer.done():
                waiter.answer.set_result(Ran(result, started - waiter.arrived, ran_s))


def _fail(waiters: Sequence[_Waiter[Any, Any]], error: Exception) -> None:
    for waiter in waiters:
        if not waiter.answer.done():
            waiter.answer.set_exception(error)
