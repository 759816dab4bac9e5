"""Turns are shared fairly, and hosts that time out are left alone."""

import asyncio
from contextlib import suppress

import pytest

from preprocessing.thumbnails.policy import UnreachableError
from preprocessing.thumbnails.turns import MAX_TIMEOUTS, PAUSE_S, Breaker, Turns, TurnsByKey

pytestmark = pytest.mark.anyio


class Holders:
    """Tasks that each hold a turn until they are told to end; `order` is that in which they got one."""

    def __init__(self, turns: Turns) -> None:
        self.order: list[str] = []
        self._turns = turns
        self._ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, *parties: str) -> None:
        """Have these parties ask for a turn, in this order."""
        for party in parties:
            self.tasks.append(asyncio.create_task(self._hold(party)))
        await settled()

    async def end(self, count: int) -> None:
        """End the holders that got their turns first."""
        for end in self._ends[:count]:
            end.set()
        del self._ends[:count]
        await settled()

    async def _hold(self, party: str) -> None:
        async with self._turns.turn(party):
            self.order.append(party)
            self._ends.append(end := asyncio.Event())
            await end.wait()


async def settled() -> None:
    """Let tasks run as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_party_leaves_a_quarter_of_the_turns_to_others() -> None:
    """Of eight turns a batch holds six at most, and the next request has one at once."""
    holders = Holders(Turns(8))
    await holders.add(*["batch"] * 20)
    assert holders.order == ["batch"] * 6
    await holders.add("single")
    assert holders.order[6:] == ["single"]
    await holders.end(30)
    await holders.end(30)
    for task in holders.tasks:
        task.cancel()


async def test_waiting_parties_take_turns_in_rotation() -> None:
    """A single picture waits behind one picture of each batch."""
    holders = Holders(Turns(1))
    await holders.add("a", "a", "a", "b", "b", "single")
    for _ in range(6):
        await holders.end(1)
    assert holders.order == ["a", "a", "b", "single", "a", "b"]


async def test_a_caller_that_leaves_gives_its_turn_back() -> None:
    """While it waits, and in the moment in which it is given one."""
    holders = Holders(Turns(1))
    await holders.add("a", "b", "c")
    holders.tasks[1].cancel()
    await holders.end(1)
    assert holders.order == ["a", "c"]
    await holders.add("d")
    await holders.end(1)
    holders.tasks[3].cancel()
    await holders.add("e")
    assert holders.order[-1] == "e"


async def test_keys_have_turns_of_their_own() -> None:
    """A host without turns left does not hold up another."""
    turns = TurnsByKey(1)
    async with turns.turn("one", 1), turns.turn("two", 1):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), turns.turn("one", 2):
                pass


class Clock:
    """A clock that the test sets, in seconds."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def time_out(breaker: Breaker, clock: Clock, times: int = 1) -> None:
    """Have requests time out that arrived at once."""
    for _ in range(times):
        with suppress(TimeoutError), breaker.watch("host", clock.now):
            raise TimeoutError


def is_asked(breaker: Breaker, arrived: float) -> bool:
    """Whether a request that arrived then is sent to the host; it succeeds."""
    with suppress(UnreachableError), breaker.watch("host", arrived):
        return True
    return False


def test_a_host_that_times_out_is_asked_by_one_request_at_a_time() -> None:
    """Those that waited already are refused; the first newcomer asks, and others are refused meanwhile."""
    clock = Clock()
    breaker = Breaker(clock)
    time_out(breaker, clock, MAX_TIMEOUTS)
    assert not is_asked(breaker, clock.now)
    clock.now += 1
    with breaker.watch("host", clock.now):
        assert not is_asked(breaker, clock.now)
    assert is_asked(breaker, clock.now)


def test_a_host_whose_probe_times_out_is_not_asked_for_a_while() -> None:
    """With the reason `timeout`; other hosts are asked."""
    clock = Clock()
    breaker = Breaker(clock)
    time_out(breaker, clock, MAX_TIMEOUTS)
    clock.now += 1
    time_out(breaker, clock)
    clock.now += PAUSE_S - 0.1
    with pytest.raises(UnreachableError, match="host timed out 9 times in a row") as refused:
        time_out(breaker, clock)
    assert refused.value.reason == "timeout"
    with breaker.watch("other", clock.now):
        clock.now += 0.2
    assert is_asked(breaker, clock.now)


def test_one_answer_in_between_counts_from_the_start() -> None:
    """Another error is an answer too; a request that is cancelled is none."""
    clock = Clock()
    breaker = Breaker(clock)
    time_out(breaker, clock, MAX_TIMEOUTS - 1)
    with suppress(UnreachableError), breaker.watch("host", clock.now):
        raise UnreachableError("host answered 404", "http_404")
    time_out(breaker, clock, MAX_TIMEOUTS - 1)
    assert is_asked(breaker, clock.now)
    time_out(breaker, clock, MAX_TIMEOUTS)
    clock.now += 1
    with suppress(asyncio.CancelledError), breaker.watch("host", clock.now):
        raise asyncio.CancelledError
    assert is_asked(breaker, clock.now)
