"""Turns are shared fairly, and hosts that time out are left alone."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Any

import pytest

from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import UnreachableError
from preprocessing.thumbnails.response import LARGE_BYTES, MAX_LARGE
from preprocessing.thumbnails.turns import MAX_TIMEOUTS, PAUSE_S, Breaker, Turns, TurnsByKey
from tests.support.pictures import encoded, picture
from tests.support.site import PATIENCE_S, Names, Site, ok, serving, trusting

pytestmark = pytest.mark.anyio
JPEG = encoded(picture(), "JPEG")


class Holders:
    """Tasks that each hold a turn until `end` is called; `order` lists the parties in the order of turns."""

    def __init__(self, turns: Turns) -> None:
        self.order: list[str] = []
        self._turns = turns
        self._ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def add(self, *parties: str) -> None:
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
    """A batch holds at most six of eight turns, and the next request gets one at once."""
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
    """While it waits, and at the moment when it is given one."""
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
    async with turns.of("one").turn(1), turns.of("two").turn(1):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), turns.of("one").turn(2):
                pass


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def time_out(breaker: Breaker, clock: Clock, times: int = 1) -> None:
    """Let requests that have just arrived time out."""
    for _ in range(times):
        with suppress(TimeoutError), breaker.watch("host", clock.now):
            raise TimeoutError


def is_asked(breaker: Breaker, arrived: float) -> bool:
    """Whether a request that arrived at that time is sent to the host; if so, it succeeds."""
    with suppress(UnreachableError), breaker.watch("host", arrived):
        return True
    return False


def test_a_host_that_times_out_is_asked_by_one_request_at_a_time() -> None:
    """Requests already waiting are refused; the first new one is sent, others are refused meanwhile."""
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


def test_an_answer_in_between_resets_the_count() -> None:
    """Another error is an answer too; a cancelled request is not."""
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


async def test_few_large_bodies_are_taken_at_once() -> None:
    """Of twelve bodies beyond half a megabyte, eight are read further; a small one passes them all."""
    read_on: list[str] = []
    eight, ninth = asyncio.Event(), asyncio.Event()

    async def stop_late(path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/small":
            writer.write(ok(JPEG))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 * LARGE_BYTES))
        for _ in range(31):  # more than the kernel buffers of a body that is not read further
            writer.write(bytes(LARGE_BYTES))
            await writer.drain()
        read_on.append(path)
        if len(read_on) >= MAX_LARGE:
            (eight if len(read_on) == MAX_LARGE else ninth).set()

    limits = trusting(timeout_s=PATIENCE_S, max_bytes=32 * LARGE_BYTES, max_connections_per_host=20)
    async with serving(stop_late) as site, ThumbnailFetcher(limits) as fetcher:
        hanging = [asyncio.create_task(fetcher.fetch(site.url(f"/{number}"))) for number in range(12)]
        async with asyncio.timeout(PATIENCE_S):
            await eight.wait()
            assert await fetcher.fetch(site.url("/small")) == JPEG
            assert not ninth.is_set()
            hanging[int(read_on[0].strip("/"))].cancel()  # a cancelled fetch makes room
            await ninth.wait()
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


async def most_at_once(urls: Callable[[Site], list[str]], parties: Sequence[object], **policy: Any) -> int:
    """The largest number of requests that a site has at once when its URLs are fetched for these parties."""
    now, most = 0, 0

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(50):  # turns of the event loop in which other requests may arrive
            await asyncio.sleep(0)
        now -= 1
        writer.write(ok(JPEG))

    async with serving(answer) as site:
        names = Names(["127.0.0.1"])
        async with ThumbnailFetcher(trusting(**policy), resolve=names) as fetcher:
            asked = zip(urls(site), cycle(parties), strict=False)
            await asyncio.gather(*(fetcher.download(url, party) for url, party in asked))
    return most


async def test_one_host_gets_a_part_of_the_connections() -> None:
    """One request gets three quarters of a host's share, several get all of it; under many names too."""

    def paths(site: Site) -> list[str]:
        return [site.url(f"/{index}.jpg") for index in range(40)]

    def names(site: Site) -> list[str]:
        return [f"http://{index}.example:{site.port}/" for index in range(40)]

    assert await most_at_once(paths, ["one"], max_connections_per_host=4) == 3
    assert await most_at_once(paths, ["one", "two"], max_connections_per_host=4) == 4
    assert await most_at_once(names, ["one", "two"], max_connections_per_host=4) == 4
