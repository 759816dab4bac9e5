"""When a host may be asked: turns that are shared fairly, and hosts that are left alone for a while."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from preprocessing.thumbnails.policy import UnreachableError

# One request leaves a quarter of a host's turns to the others.
MAX_SHARE = 0.75
MAX_TIMEOUTS = 8
PAUSE_S = 5.0
MAX_HOSTS = 10_000


class Turns:
    """At most `limit` holders at once, at most `MAX_SHARE` of them from one party.

    A party is whatever shares a request; None is limited only by `limit`. Waiting parties are
    served in rotation, so a single picture waits behind one picture of a batch, not behind all of them. For
    one event loop.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._party_limit = max(1, int(limit * MAX_SHARE))
        self._taken = 0
        self._held: dict[Hashable, int] = {}
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, party: Hashable) -> AsyncGenerator[None]:
        """Wait for a turn and hold it within the context."""
        await self.take(party)
        try:
            yield
        finally:
            self.release(party)

    async def take(self, party: Hashable) -> None:
        """Wait for a turn, to be given back by `release`."""
        if self._waiting or not self._is_free(party):
            await self._wait(party)
        else:
            self._take(party)

    async def _wait(self, party: Hashable) -> None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(party, deque()).append(answer)
        self._hand_out()
        try:
            await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled():
                self.release(party)
            raise

    def _is_free(self, party: Hashable) -> bool:
        most = self._limit if party is None else self._party_limit
        return self._taken < self._limit and self._held.get(party, 0) < most

    def _take(self, party: Hashable) -> None:
        self._taken += 1
        self._held[party] = self._held.get(party, 0) + 1

    def release(self, party: Hashable) -> None:
        """Give a turn back."""
        self._taken -= 1
        self._held[party] -= 1
        if not self._held[party]:
            del self._held[party]
        if self._waiting:
            self._hand_out()

    def _hand_out(self) -> None:
        for party in list(self._waiting):
            if self._taken >= self._limit:
                return
            queue = self._waiting[party]
            while queue and queue[0].done():  # its caller has left
                queue.popleft()
            if queue and self._is_free(party):
                self._take(party)
                queue.popleft().set_result(None)
                self._waiting.move_to_end(party)
            if not queue:
                del self._waiting[party]


class TurnsByKey:
    """Turns for each host or address; kept as long as one is held or awaited."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._turns: WeakValueDictionary[str, Turns] = WeakValueDictionary()

    def of(self, key: str) -> Turns:
        """The turns of this key."""
        turns = self._turns.get(key)
        if turns is None:
            turns = self._turns[key] = Turns(self._limit)
        return turns


@dataclass(slots=True)
class _Host:
    timeouts: int = 0
    opened_at: float = 0.0
    paused_until: float = 0.0
    is_probed: bool = False


class Breaker:
    """Remembers hosts that time out and spares the callers the wait.

    After `MAX_TIMEOUTS` in a row, waiting callers are refused, and only one later caller at a time may ask.
    If it times out too, the host is not asked for `PAUSE_S`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: OrderedDict[str, _Host] = OrderedDict()

    def now(self) -> float:
        """The time at which a caller begins to wait for a turn, for `watch`."""
        return self._clock()

    @contextmanager
    def watch(self, host: str, arrived: float) -> Iterator[None]:
        """Count how a request to this host ends. Raises `UnreachableError` if it must not be asked now."""
        known = self._hosts.get(host)
        if known is not None and known.timeouts >= MAX_TIMEOUTS:
            if arrived <= known.opened_at or known.is_probed or self._clock() < known.paused_until:
                raise UnreachableError(f"{host} timed out {known.timeouts} times in a row", "timeout")
            known.is_probed = True
        try:
            yield
        except TimeoutError:
            self._count(host)
            raise
        except UnreachableError as exc:
            if exc.reason == "timeout":
                self._count(host)
            else:
                self._hosts.pop(host, None)
            raise
        except asyncio.CancelledError:  # nothing was learned: the next caller may ask
            if known is not None:
                known.is_probed = False
            raise
        except BaseException:
            self._hosts.pop(host, None)
            raise
        self._hosts.pop(host, None)

    def _count(self, host: str) -> None:
        known = self._hosts.setdefault(host, _Host())
        self._hosts.move_to_end(host)
        known.timeouts += 1
        if known.timeouts == MAX_TIMEOUTS:
            known.opened_at = self._clock()
        if known.is_probed:
            known.is_probed, known.paused_until = False, self._clock() + PAUSE_S
        if len(self._hosts) > MAX_HOSTS:
            self._hosts.popitem(last=False)
