"""VectorCache around computations that count their calls, so that an extra one shows."""

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.scoring.cache import ENTRY_BYTES, KEY_BYTES, Vector, VectorCache, entry_bytes, vector_key
from tests.support.process import LIMIT_S

pytestmark = pytest.mark.anyio
ROOM = 1_000_000


def vector(value: float, length: int = 4) -> Vector:
    return np.full(length, value, np.float32)


def key(number: int) -> bytes:
    return vector_key("model", "text", number.to_bytes(8, "little", signed=True))


class Computation:
    """Waits for `gate` and gives one vector; counts how often it was begun."""

    def __init__(self, value: float = 1.0, length: int = 4, error: Exception | None = None) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()
        self.begun = 0
        self.cancelled = 0
        self._vector = vector(value, length)
        self._error = error

    async def __call__(self) -> Vector:
        self.begun += 1
        self.started.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self._error is not None:
            raise self._error
        return self._vector


async def test_second_call_computes_nothing() -> None:
    cache, computation = VectorCache(ROOM), Computation(3.0)
    assert cache.recall(key(1)) is None
    first, first_hit = await cache.get(key(1), computation)
    second, second_hit = await cache.get(key(1), Computation(9.0))
    assert (first_hit, second_hit, computation.begun) == (False, True, 1)
    assert first.tolist() == second.tolist() == [3.0] * 4
    assert cache.recall(key(1)) is second
    assert (cache.hits, cache.misses, cache.collapsed, cache.entries) == (2, 1, 0, 1)


async def test_bytes_stay_within_the_bound() -> None:
    """Ten thousand vectors of random lengths never cost more than `max_bytes`, and the count is exact."""
    random, cache = np.random.default_rng(7), VectorCache(200_000)
    for number in range(10_000):
        await cache.get(key(number), Computation(number, int(random.integers(1, 3000))))
        assert cache.bytes <= cache.max_bytes
    kept = [cache.recall(key(number)) for number in range(10_000)]
    assert cache.bytes == sum(entry_bytes(each) for each in kept if each is not None) > 150_000
    assert cache.entries == sum(each is not None for each in kept) == 10_000 - cache.evictions


async def test_counted_bytes_are_those_that_the_process_allocates() -> None:
    """What the cache counts is within a tenth of what the interpreter allocates, rows of batches included."""
    cache = VectorCache(100 * ROOM)
    await cache.get(key(-1), Computation())
    before = cache.bytes
    tracemalloc.start()
    try:
        for number in range(3000):
            batch = np.ones((16, 32), np.float32)
            await cache.get(key(number), _giving(batch[3]))
        del batch
        paid, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert paid == pytest.approx(cache.bytes - before, rel=0.1)


def _giving(row: Vector) -> Callable[[], Awaitable[Vector]]:
    async def compute() -> Vector:
        return row

    return compute


async def test_least_recently_used_goes_first() -> None:
    """With room for three entries, the fourth pushes out the one that was used longest ago."""
    cache = VectorCache(3 * entry_bytes(vector(0)))
    for number in (1, 2, 3):
        await cache.get(key(number), Computation(number))
    await cache.get(key(1), Computation())
    await cache.get(key(4), Computation())
    assert [number for number in (1, 2, 3, 4) if cache.recall(key(number)) is not None] == [1, 3, 4]
    assert cache.evictions == 1


async def test_vector_that_cannot_fit_pushes_nothing_out() -> None:
    """A vector larger than the whole cache is handed out and not kept; the others stay."""
    cache = VectorCache(ENTRY_BYTES + 100)
    await cache.get(key(1), Computation(1.0))
    large, _ = await cache.get(key(2), Computation(2.0, 1000))
    assert large.shape == (1000,)
    assert (cache.recall(key(1)) is None, cache.recall(key(2)) is None) == (False, True)


@pytest.mark.parametrize("room", [ROOM, 0])
async def test_hundred_identical_calls_compute_once(room: int) -> None:
    """Concurrent calls for one key share a computation; with `max_bytes` 0 a later call runs its own."""
    cache, computation = VectorCache(room), Computation(5.0)
    answers = await asyncio.gather(*(cache.get(key(1), computation) for _ in range(100)))
    assert computation.begun == 1
    assert all(each.tolist() == [5.0] * 4 and not hit for each, hit in answers)
    assert (cache.hits, cache.misses, cache.collapsed) == (0, 1, 99)
    _, hit = await cache.get(key(1), computation)
    assert (hit, computation.begun, cache.entries) == ((True, 1, 1) if room else (False, 2, 0))


async def test_other_callers_get_their_answer_when_the_first_is_cancelled() -> None:
    """A cancelled caller does not cancel the computation of the others."""
    cache, computation = VectorCache(ROOM), Computation(6.0)
    computation.gate.clear()
    first, *others = [asyncio.create_task(cache.get(key(1), computation)) for _ in range(10)]
    await computation.started.wait()
    first.cancel()
    await asyncio.wait([first])
    computation.gate.set()
    answers = await asyncio.gather(*others)
    assert first.cancelled()
    assert [each.tolist() for each, _ in answers] == [[6.0] * 4] * 9
    assert (computation.begun, computation.cancelled, cache.entries) == (1, 0, 1)


async def test_computation_is_cancelled_with_its_last_caller() -> None:
    """And it ends before that caller does."""
    cache, computation = VectorCache(ROOM), Computation()
    computation.gate.clear()
    callers = [asyncio.create_task(cache.get(key(1), computation)) for _ in range(3)]
    await computation.started.wait()
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    assert (computation.cancelled, cache.entries) == (1, 0)


class Stubborn:
    """A computation that, once cancelled, ends only when `may_end` is set, and then with an error."""

    def __init__(self) -> None:
        self.begun, self.ending, self.may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self) -> Vector:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ending.set()
            await self.may_end.wait()
        raise AssertionError("never set")


async def test_last_caller_stays_until_the_computation_has_ended() -> None:
    """What a computation uses may be closed once its callers are gone, so the last one waits for its end."""
    stubborn = Stubborn()
    caller = asyncio.create_task(VectorCache(ROOM).get(key(1), stubborn))
    await stubborn.begun.wait()
    caller.cancel()
    await stubborn.ending.wait()
    await asyncio.sleep(0.01)
    assert not caller.done()
    stubborn.may_end.set()
    await asyncio.wait([caller])
    assert caller.cancelled()


async def test_new_call_does_not_join_a_computation_that_is_being_cancelled() -> None:
    """Calls that arrive while an abandoned computation ends share a new one, which outlives it."""
    cache, stubborn, fresh = VectorCache(ROOM), Stubborn(), Computation(2.0)
    fresh.gate.clear()
    caller = asyncio.create_task(cache.get(key(1), stubborn))
    await stubborn.begun.wait()
    caller.cancel()
    await stubborn.ending.wait()
    newcomer = asyncio.create_task(cache.get(key(1), fresh))
    async with asyncio.timeout(LIMIT_S):
        await fresh.started.wait()
        stubborn.may_end.set()
        await asyncio.wait([caller])
        late = asyncio.create_task(cache.get(key(1), fresh))
        await asyncio.sleep(0.01)
        fresh.gate.set()
        answers = await asyncio.gather(newcomer, late)
    assert [each.tolist() for each, _ in answers] == [[2.0] * 4] * 2
    assert (fresh.begun, cache.collapsed, cache.entries) == (1, 1, 1)


async def test_error_without_a_waiting_caller_is_not_logged() -> None:
    """A computation that fails while it is being cancelled leaves nothing in the event loop's log."""
    logged: list[object] = []
    started = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))

    async def fail_late() -> Vector:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("13")

    caller = asyncio.create_task(VectorCache(ROOM).get(key(1), fail_late))
    await started.wait()
    caller.cancel()
    await asyncio.wait([caller])
    del caller
    gc.collect()
    asyncio.get_running_loop().set_exception_handler(None)
    assert logged == []


async def test_failure_reaches_every_waiter_and_is_forgotten() -> None:
    """Each caller of a failing computation gets its error; the next call computes again."""
    cache, failing = VectorCache(ROOM), Computation(error=ValueError("13"))
    outcomes = await asyncio.gather(*(cache.get(key(1), failing) for _ in range(10)), return_exceptions=True)
    assert [str(each) for each in outcomes] == ["13"] * 10
    assert (failing.begun, cache.entries, cache.bytes) == (1, 0, 0)
    _, hit = await cache.get(key(1), Computation())
    assert (hit, cache.entries) == (False, 1)


async def test_work_that_gives_up_cancels_no_caller() -> None:
    """A computation that is cancelled from within is an error to its callers, not their own cancellation."""

    async def give_up() -> Vector:
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="cancelled from within"):
        await VectorCache(ROOM).get(key(1), give_up)


async def test_vectors_are_read_only() -> None:
    """Neither a miss nor a hit can be written to or made writable, and the computed array is not shared."""
    cache, own = VectorCache(ROOM), vector(1.0)
    for _ in range(2):
        answer, _ = await cache.get(key(1), _giving(own))
        with pytest.raises(ValueError, match="read-only"):
            answer[0] = 2.0
        with pytest.raises(ValueError, match="WRITEABLE"):
            answer.setflags(write=True)
    own[0] = 7.0
    assert answer[0] == 1.0


def test_keys_tell_every_part_apart() -> None:
    """Another fingerprint, tower, content or split of the content is another key."""
    inputs = [
        ("a", "text", b"12", b"00"),
        ("b", "text", b"12", b"00"),
        ("a", "text", b"12", b"01"),
        ("a", "text", b"120", b"0"),
        ("a", "text", b"1200"),
        ("a", "text", b"", b""),
        ("a", "image", b"12", b"00"),
        ("at", "ext", b"12", b"00"),
        ("a", "image", b""),
    ]
    keys = [vector_key(*each) for each in inputs]
    assert len(set(keys)) == len(keys)
    assert {len(each) for each in keys} == {KEY_BYTES}


@settings(deadline=None)
@given(
    room=st.integers(0, 5 * (ENTRY_BYTES + 40)),
    calls=st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=60),
)
def test_cache_behaves_like_a_list(room: int, calls: list[tuple[int, bool]]) -> None:
    """For any order of calls, failing ones included, hits and contents are those of a plain list."""
    cache = VectorCache(room)
    model: list[int] = []  # the least recent first; number n has a vector of n + 1 values

    def cost(numbers: list[int]) -> int:
        return sum(ENTRY_BYTES + 4 * (number + 1) for number in numbers)

    async def play() -> None:
        for number, fails in calls:
            computation = Computation(number, number + 1, ValueError("13") if fails else None)
            known = number in model
            try:
                answer, hit = await cache.get(key(number), computation)
            except ValueError:
                assert fails
                assert not known
                continue
            assert (answer.tolist(), hit) == ([number] * (number + 1), known)
            if known:
                model.remove(number)
            if cost([number]) <= room:
                model.append(number)
            while cost(model) > room:
                model.pop(0)
            assert (cache.entries, cache.bytes) == (len(model), cost(model))

    asyncio.run(play())
    assert [number for number in range(8) if cache.recall(key(number)) is not None] == sorted(model)


async def test_two_thousand_calls_get_their_own_answers() -> None:
    """Two thousand calls for fifty keys, a third of them cancelled: every answer is its key's own."""
    random, cache = np.random.default_rng(11), VectorCache(20 * (ENTRY_BYTES + 16))
    running: set[int] = set()

    async def call(number: int) -> None:
        async def compute() -> Vector:
            assert number not in running, "identical work runs once"
            running.add(number)
            try:
                await asyncio.sleep(random.random() / 500)
            finally:
                running.remove(number)
            return vector(number)

        await asyncio.sleep(random.random() / 20)
        answer, _ = await cache.get(key(number), compute)
        assert answer.tolist() == [number] * 4

    tasks = [asyncio.create_task(call(int(random.integers(50)))) for _ in range(2000)]
    for index in random.choice(2000, 700, replace=False):
        asyncio.get_running_loop().call_later(random.random() / 20, tasks[index].cancel)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(each) for each in outcomes} == {type(None), asyncio.CancelledError}
    assert cache.bytes == cache.entries * (ENTRY_BYTES + 16) <= cache.max_bytes
