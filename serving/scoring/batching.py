"""A queue in front of one step of the network. Knows neither HTTP nor the engine.

No wait window: whatever is queued when the step is free becomes the next batch, shortest first, at most
`max_batch_size`. A queue may have a partner whose results its own are waited for with: while the partner runs
a batch, a batch that is not full waits for that one to end, since a larger one costs less and its items could
not go on sooner. Every item that was accepted gets an answer: its result, its batch's failure, or the news
that the queue has closed.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class QueueClosedError(Exception):
    """The queue was closed before this item's turn came."""


@dataclass(frozen=True, slots=True)
class Ran(Generic[Result]):
    """An item's result, how long it waited for its turn, and how long its batch ran."""

    result: Result
    waited_s: float
    ran_s: float


@dataclass(slots=True)
class _Waiter(Generic[Item, Result]):
    item: Item
    answer: "asyncio.Future[Ran[Result]]"
    arrived: float
    urgent: bool


class BatchingQueue(Generic[Item, Result]):
    """Collects items from many tasks and runs them in batches off the event loop, one batch at a time."""

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        executor: Executor,
        max_batch_size: int,
        length: Callable[[Item], int] = lambda _: 1,
        partner: "BatchingQueue[Any, Any] | None" = None,
        at_once: int = 1,
    ) -> None:
        """`run` gets a batch in `executor` and returns one result per item, in order.

        `length` is an item's cost: batches of similar lengths waste the least padding. `partner` is the
        queue whose running batch an item that is not urgent may wait for. More than one batch runs at a time
        only with `at_once`, in as many threads of `executor`. `batches` counts those that ran, by their size.
        """
        assert max_batch_size >= 1, "a batch holds at least one item"
        self._run = run
        self._executor = executor
        self._max_batch_size = max_batch_size
        self._length = length
        self._waiters: list[_Waiter[Item, Result]] = []
        self._arrived = asyncio.Event()
        self._may_start = asyncio.Event()
        self._partner = partner
        self._on_end: list[asyncio.Event] = []
        self._at_once = at_once
        self._running: dict[int, list[_Waiter[Item, Result]]] = {}
        self._number = 0
        self.batches: Counter[int] = Counter()
        if partner is not None:
            partner._on_end.append(self._may_start)
        self._loop_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop_task = asyncio.create_task(self._serve() if self._at_once == 1 else self._serve_many())
        self._loop_task.add_done_callback(self._close)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._loop_task is not None, "entered before it is left"
        self._loop_task.cancel()
        await asyncio.gather(self._loop_task, return_exceptions=True)

    @property
    def depth(self) -> int:
        """Items that wait for their turn."""
        return len(self._waiters)

    async def submit(self, item: Item, *, urgent: bool = True) -> Ran[Result]:
        """The result for `item`, once a batch has carried it. Raises what its batch raised.

        An item that is not `urgent` is waited for together with one in the partner's queue.
        """
        if not self.is_served:
            raise QueueClosedError("the queue is not served")
        answer = asyncio.get_running_loop().create_future()
        self._waiters.append(_Waiter[Item, Result](item, answer, time.perf_counter(), urgent))
        self._arrived.set()
        if urgent or len(self._waiters) >= self._max_batch_size:
            self._may_start.set()
        ran: Ran[Result] = await answer
        return ran

    @property
    def is_served(self) -> bool:
        """Whether somebody takes items out of the queue."""
        return self._loop_task is not None and not self._loop_task.done()

    @property
    def running(self) -> int | None:
        """Which batch has run for longest, by its number; None while none runs."""
        return min(self._running, default=None)

    def fail(self, error: Exception) -> None:
        """Answer everybody with `error`, those in a running batch too, and take no more."""
        self._answer_everybody(error)
        if self._loop_task is not None:
            self._loop_task.cancel()

    def _close(self, task: "asyncio.Task[None]") -> None:
        """Whatever ended the loop, nobody waits for it any more."""
        cause = None if task.cancelled() else task.exception()
        error = QueueClosedError(
            "the service is stopping" if cause is None else f"the queue ended: {cause!r}"
        )
        error.__cause__ = cause
        self._answer_everybody(error)

    def _answer_everybody(self, error: Exception) -> None:
        for batch in self._running.values():
            self._answer_all(batch, error)
        self._answer_all(self._waiters, error)
        self._waiters = []

    async def _serve_many(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            await self._arrived.wait()
            await self._turn()
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

    async def _turn(self) -> None:
        """Wait for the partner's batch to end, unless the next one is full or urgent."""
        self._may_start.clear()
        is_full = len(self._waiters) >= self._max_batch_size
        if self._partner is None or not self._partner._running or is_full:
            return
        if not any(waiter.urgent for waiter in self._waiters):
            await self._may_start.wait()

    def _take(self) -> list[_Waiter[Item, Result]]:
        """The next batch: the longest-waiting item and those nearest to it in length."""
        present = [waiter for waiter in self._waiters if not waiter.answer.done()]  # the others' clients left
        if not present:
            self._waiters = []
            return []
        oldest = self._length(present[0].item)
        by_distance = sorted(present, key=lambda waiter: abs(self._length(waiter.item) - oldest))
        batch = by_distance[: self._max_batch_size]
        chosen = {id(waiter) for waiter in batch}
        self._waiters = [waiter for waiter in present if id(waiter) not in chosen]
        return sorted(batch, key=lambda waiter: self._length(waiter.item))

    async def _answer(self, batch: list[_Waiter[Item, Result]]) -> None:
        loop, started = asyncio.get_running_loop(), time.perf_counter()
        try:
            results = await loop.run_in_executor(self._executor, self._run, [waiter.item for waiter in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for {len(batch)} items")
        except asyncio.CancelledError:
            self._answer_all(batch, QueueClosedError("the service is stopping"))
            raise
        except Exception as exc:
            # Whatever a forward raises, its waiters must hear of it; the queue goes on.
            self._answer_all(batch, exc)
            return
        except BaseException as exc:
            # A step that wants the process to exit fails like any other; it is not who decides that.
            self._answer_all(batch, RuntimeError(f"the step raised {exc!r}"))
            return
        ran_s = time.perf_counter() - started
        for waiter, result in zip(batch, results, strict=True):
            if not waiter.answer.done():  # its client may have left meanwhile
                waiter.answer.set_result(Ran(result, started - waiter.arrived, ran_s))

    @staticmethod
    def _answer_all(waiters: Sequence[_Waiter[Item, Result]], error: Exception) -> None:
        for waiter in waiters:
            if not waiter.answer.done():
                waiter.answer.set_exception(error)
