"""How many videos may be in the house at once, and when to come back where it is full.

Counted in videos, not in requests: a batch of 256 is 256. A video holds its place from when its request has
been read until it has its answer, so that a client who sends slowly keeps nobody out.
"""

import asyncio
import math
import time
from collections.abc import Callable
from types import TracebackType

from prometheus_client import CollectorRegistry, Counter, Gauge

from serving.errors import OverloadedError, PredictTimeoutError

# What is believed before anything was measured, in videos per second: two cores, one video after another.
FIRST_GUESS = 20.0
# A measurement loses its weight over so many seconds of work: the rate is that of the last half minute.
MEMORY_S = 15.0
LONGEST_WAIT_S = 60


class DrainRate:
    """Videos finished per second of work; time in which nothing waited says nothing about it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._finished, self._worked_s = FIRST_GUESS, 1.0
        self._since: float | None = None

    @property
    def per_second(self) -> float:
        """The rate, weighted by age: what was measured `MEMORY_S` ago counts 1/e."""
        self._pass_time()
        return self._finished / self._worked_s

    def begin(self) -> None:
        """Somebody waits from now on."""
        self._since = self._clock()

    def finish(self) -> None:
        """One video is finished."""
        self._pass_time()
        self._finished += 1

    def rest(self) -> None:
        """Nobody waits any more."""
        self._pass_time()
        self._since = None

    def _pass_time(self) -> None:
        if self._since is None:
            return
        now = self._clock()
        passed, self._since = now - self._since, now
        kept = math.exp(-passed / MEMORY_S)
        self._finished, self._worked_s = self._finished * kept, self._worked_s * kept + passed


class Admission:
    """The places for videos, and the account of those that were not scored.

    For one event loop. Raises `OverloadedError`, which says when a place may be free.
    """

    def __init__(
        self, places: int, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert places >= 1, "a service without places answers nobody"
        self.places = places
        self.taken = 0
        self._rate = DrainRate(clock)
        Gauge("miles_queue_videos", "Videos admitted and not yet answered.", registry=registry).set_function(
            lambda: self.taken
        )
        Gauge("miles_queue_places", "How many may be.", registry=registry).set(places)
        Gauge(
            "miles_drain_videos_per_second", "Videos scored per second of work, lately.", registry=registry
        ).set_function(lambda: self._rate.per_second)
        self.shed = Counter("miles_shed", "Videos refused because the queue was full.", registry=registry)
        self.abandoned = Counter(
            "miles_abandoned", "Videos whose client left before the score was there.", registry=registry
        )
        self.late = Counter(
            "miles_deadline_missed", "Videos that had no score at the deadline.", registry=registry
        )

    @property
    def is_full(self) -> bool:
        """Whether the next video would be refused."""
        return self.taken >= self.places

    def place(self) -> "Place":
        """A place for one video, held while the context lasts. Entering it raises `OverloadedError`."""
        return Place(self)

    def refuse(self) -> OverloadedError:
        """The refusal of one video, counted."""
        self.shed.inc()
        wait_s = min(max(1, math.ceil(self.taken / self._rate.per_second)), LONGEST_WAIT_S)
        return OverloadedError(
            f"{self.taken} videos wait, and no more may. At the present rate they are scored in {wait_s} s; "
            "ask again then.",
            wait_s,
        )

    def enter(self) -> None:
        """Take a place. Raises `OverloadedError`."""
        if self.is_full:
            raise self.refuse()
        if not self.taken:
            self._rate.begin()
        self.taken += 1

    def leave(self, error: BaseException | None) -> None:
        """Give a place back; `error` is how it ended."""
        if isinstance(error, asyncio.CancelledError):
            self.abandoned.inc()
        elif isinstance(error, PredictTimeoutError):
            self.late.inc()
        else:
            self._rate.finish()
        self.taken -= 1
        if not self.taken:
            self._rate.rest()


class Place:
    """One place of an `Admission`."""

    # A class rather than a generator: this stands in the way of every video, and costs a third.
    __slots__ = ("_admission",)

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def __enter__(self) -> None:
        self._admission.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._admission.leave(error)
