"""How many videos may be queued at once, when to retry at capacity, and the pace of a burst.

Counted in videos, not in requests: a batch of 256 is 256. An explained video takes `EXPLAINED` slots. A
video takes a slot only after its request has been read, so that a slow sender takes none.

A client may hold up to `SHARE` times the number of free slots, so that one client gets 256 of 320 and the
next one always finds some (Choudhury and Hahne, Dynamic queue length thresholds, IEEE/ACM ToN 6, 1998).
"""

import asyncio
import math
import time
from collections import Counter as Counts
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.errors import OverloadedError, PredictTimeoutError

CLIENT: ContextVar[str] = ContextVar("client", default="")
"""The client of the current request: an API key's digest or an address."""
WAITING = " waiting"
SHARE = 4
EXPLAINED = 4  # an explanation takes 42 ms to compute, a video with a new title 15 ms (two cores)
# Assumed before anything was measured, in videos per second: two cores, one video after another.
INITIAL_RATE = 20.0
# The time constant of the rate's exponential average, in seconds of work.
TIME_CONSTANT_S = 15.0
MAX_RETRY_AFTER_S = 60
PER_TURN = 8  # a video costs the event loop about 1 ms before it waits for anything


class DrainRate:
    """Videos finished per second of work; idle time does not count."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._finished, self._worked_s = INITIAL_RATE, 1.0
        self._since: float | None = None

    @property
    def per_second(self) -> float:
        """The exponentially weighted rate: work that is `TIME_CONSTANT_S` old counts 1/e."""
        self._advance()
        return self._finished / self._worked_s

    def begin(self) -> None:
        """The first video of a busy period has arrived."""
        self._since = self._clock()

    def finish(self, videos: int = 1) -> None:
        """Videos are finished."""
        self._advance()
        self._finished += videos

    def rest(self) -> None:
        """The last video of a busy period is finished."""
        self._advance()
        self._since = None

    def _advance(self) -> None:
        if self._since is None:
            return
        now = self._clock()
        passed, self._since = now - self._since, now
        kept = math.exp(-passed / TIME_CONSTANT_S)
        self._finished, self._worked_s = self._finished * kept, self._worked_s * kept + passed


class Admission:
    """Slots for videos, and the counts of videos that were not scored. For one event loop."""

    def __init__(
        self, capacity: int, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert capacity >= 1, "a service without capacity answers nothing"
        self.capacity = capacity
        self.taken = 0
        self._held: Counts[str] = Counts()
        self._rate = DrainRate(clock)
        for name, description, value in (
            ("miles_queue_videos", "Videos admitted and not yet answered.", lambda: self.taken),
            ("miles_queue_places", "Maximum number of admitted videos.", lambda: self.capacity),
            (
                "miles_drain_videos_per_second",
                "Recent videos scored per second of work.",
                lambda: self._rate.per_second,
            ),
        ):
            Gauge(name, description, registry=registry).set_function(value)
        self.shed = Counter("miles_shed", "Videos refused at capacity.", registry=registry)
        self.abandoned = Counter(
            "miles_abandoned", "Videos whose client disconnected before the answer.", registry=registry
        )
        self.late = Counter("miles_deadline_missed", "Videos not scored by the deadline.", registry=registry)

    def is_full(self, slots: int = 1) -> bool:
        """Whether the next video of this client, which takes `slots`, would be refused."""
        free = self.capacity - self.taken
        return self._held[CLIENT.get()] >= SHARE * free or (slots > free and self.taken > 0)

    def slot(self, *, waits: bool = False, slots: int = 1) -> "Slot":
        """The slots of one video, held within the context; entering it raises `OverloadedError`.

        Videos that wait for a thumbnail are counted separately: the wait, of up to seconds, must not keep out
        their client's other videos.
        """
        if waits and not CLIENT.get().endswith(WAITING):
            CLIENT.set(CLIENT.get() + WAITING)
        return Slot(self, slots)

    def refuse(self) -> OverloadedError:
        """The refusal of one video, counted."""
        self.shed.inc()
        wait_s = min(max(1, math.ceil(self.taken / self._rate.per_second)), MAX_RETRY_AFTER_S)
        held = self._held[CLIENT.get()]
        share = "" if held in (0, self.taken) else f", {held} of them from this client"
        return OverloadedError(
            f"At capacity: {self.taken} videos queued{share}. Retry in {wait_s} s.", wait_s
        )

    def take(self, slots: int) -> None:
        """Take the slots of one video. Raises `OverloadedError`."""
        if self.is_full(slots):
            raise self.refuse()
        if not self.taken:
            self._rate.begin()
        self.taken += slots
        self._held[CLIENT.get()] += slots

    def give_back(self, slots: int, error: BaseException | None = None) -> None:
        """Free the slots of one video, which was scored or ended with `error`."""
        if isinstance(error, asyncio.CancelledError):
            self.abandoned.inc()
        elif isinstance(error, PredictTimeoutError):
            self.late.inc()
        else:
            self._rate.finish(slots)
        self.taken -= slots
        client = CLIENT.get()
        self._held[client] -= slots
        if not self._held[client]:
            del self._held[client]
        if not self.taken:
            self._rate.rest()


@dataclass(frozen=True, slots=True)
class Slot:
    """The slots of one video, taken within the context."""

    admission: Admission
    slots: int

    def __enter__(self) -> None:
        self.admission.take(self.slots)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.admission.give_back(self.slots, error)


class Pace:
    """Runs calls in order, at most `per_turn` in a turn of the event loop; the first ones immediately.

    So a health probe never waits for a whole burst.
    """

    def __init__(self, per_turn: int = PER_TURN) -> None:
        self._per_turn = self._left = per_turn
        self._calls: deque[Callable[[], object]] = deque()
        self._is_scheduled = False

    def call(self, function: Callable[[], object]) -> None:
        """Call `function` now, or in a later turn behind those that already wait."""
        self._calls.append(function)
        self._run()

    async def turn(self) -> None:
        """Return now, or in a later turn behind those that already wait."""
        due = asyncio.get_running_loop().create_future()

        def is_due() -> None:
            if not due.done():  # done if the caller was cancelled
                due.set_result(None)

        self.call(is_due)
        await due

    def _run(self) -> None:
        while self._left and self._calls:
            self._left -= 1
            self._calls.popleft()()
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._is_scheduled = False
        self._left = self._per_turn
        if self._calls:
            self._run()
