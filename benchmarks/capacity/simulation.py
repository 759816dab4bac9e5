"""One replica and a stream of requests, event by event: the queues of serving/ with measured costs for work.

    place or 503 -> event loop -> text queue  ------------------------> fusion queue -> event loop -> answer
                              \\-> download -> decode -> image queue -/
    a known video: event loop -> fusion queue -> event loop

As in serving/scoring/batching.py, a step takes whatever waits when it becomes free, at most a full batch, and
a batch of texts that is not full waits for the pictures that are being computed. Replicas know nothing of
each other: of a Poisson stream that is spread over N of them at random, each sees a Poisson stream of an Nth.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from random import Random

from benchmarks.capacity.arrivals import Arrival
from benchmarks.capacity.costs import Costs, Forward

Done = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Replica:
    """What a replica has, and what it waits for."""

    cores: float = 2.0
    decoders: int = 2
    places: int = 320
    """The most videos in the house; another is a 503. MILES_MAX_QUEUE_SIZE."""
    download_s: float = 0.05
    """Mean of an exponential distribution; downloads disturb nobody."""
    variation: float = 0.0
    """Standard deviation of a forward's cost over its mean; 1 is an exponential distribution."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the clients saw; `latencies_s` of those that were answered, ascending."""

    offered: int
    refused: int
    seconds: float
    latencies_s: Sequence[float]

    @property
    def refused_share(self) -> float:
        """Share of the requests that got a 503."""
        return self.refused / max(self.offered, 1)

    @property
    def per_s(self) -> float:
        """Scores a second, until the last one."""
        return len(self.latencies_s) / self.seconds

    def quantile_s(self, share: float) -> float:
        """So large a share was answered at least as quickly; nan where nobody was."""
        if not self.latencies_s:
            return math.nan
        return self.latencies_s[min(math.ceil(share * len(self.latencies_s)), len(self.latencies_s)) - 1]


class _Cores:
    """Cores that are shared out: each task in proportion to the number of cores that it could use alone.

    All tasks are slowed down by the same factor. So they end in the order of their ends on a clock that is
    slowed down by it, and none needs to be looked at before its end.
    """

    def __init__(self, cores: float) -> None:
        self._cores, self._wanted, self._clock = cores, 0.0, 0.0
        self._running: list[tuple[float, int, float, Done]] = []
        self._number = count()

    def begin(self, cpu_s: float, parallel: float, done: Done) -> None:
        parallel = min(parallel, self._cores)
        heappush(self._running, (self._clock + cpu_s / parallel, next(self._number), parallel, done))
        self._wanted += parallel

    @property
    def next_end_s(self) -> float:
        """Seconds until the next task ends if none is begun before."""
        if not self._running:
            return math.inf
        return (self._running[0][0] - self._clock) * max(1.0, self._wanted / self._cores)

    def pass_time(self, seconds: float) -> None:
        self._clock += seconds / max(1.0, self._wanted / self._cores)

    def end_first(self) -> Done:
        self._clock, _, parallel, done = heappop(self._running)
        self._wanted = self._wanted - parallel if self._running else 0.0  # no error is carried on
        return done


class _Line:
    """Tasks of one core each, first come first served, so many at a time."""

    def __init__(self, cores: _Cores, servers: int) -> None:
        self._cores, self._free = cores, servers
        self._waiting: deque[tuple[float, Done]] = deque()

    def submit(self, cpu_s: float, done: Done) -> None:
        if self._free:
            self._free -= 1
            self._cores.begin(cpu_s, 1.0, partial(self._end, done))
        else:
            self._waiting.append((cpu_s, done))

    def _end(self, done: Done) -> None:
        self._free += 1
        if self._waiting:
            self.submit(*self._waiting.popleft())
        done()


class _Step:
    """A step of the network behind its queue, a batch at a time; `partner` is as in `BatchingQueue`."""

    def __init__(
        self, cores: _Cores, forward: Forward, vary: Callable[[], float], partner: "_Step | None" = None
    ) -> None:
        self._cores, self._forward, self._vary, self._partner = cores, forward, vary, partner
        self._waiting: deque[Done] = deque()
        self._follower: _Step | None = None
        self._is_running = False
        if partner is not None:
            partner._follower = self

    def submit(self, done: Done) -> None:
        self._waiting.append(done)
        self._offer()

    def _offer(self, *, partner_ended: bool = False) -> None:
        if self._is_running or not self._waiting:
            return
        size = min(len(self._waiting), self._forward.largest)
        partner_runs = self._partner is not None and self._partner._is_running
        if partner_runs and size < self._forward.largest and not partner_ended:
            return
        batch = [self._waiting.popleft() for _ in range(size)]
        self._is_running = True
        cpu_s = self._forward.cpu_s[size - 1] * self._vary()
        self._cores.begin(cpu_s, self._forward.parallel[size - 1], partial(self._end, batch))

    def _end(self, batch: Sequence[Done]) -> None:
        self._is_running = False
        if self._follower is not None:
            self._follower._offer(partner_ended=True)
        for done in batch:
            done()
        self._offer()


class _House:
    """The replica while it runs."""

    def __init__(self, costs: Costs, replica: Replica, draw: Random) -> None:
        self._costs, self._replica, self._draw = costs, replica, draw
        self.now_s = 0.0
        self._downloads: list[tuple[float, int, Done]] = []
        self._number = count()
        self._cores = _Cores(replica.cores)
        self._loop = _Line(self._cores, 1)
        self._decoders = _Line(self._cores, replica.decoders)
        self._image = _Step(self._cores, costs.image, self._vary)
        self._text = _Step(self._cores, costs.text, self._vary, partner=self._image)
        self._fusion = _Step(self._cores, costs.fusion, self._vary)
        self.taken, self.refused = 0, 0
        self.latencies_s: list[float] = []

    def run_until(self, moment_s: float) -> None:
        """Let everything happen that ends before this moment."""
        while True:
            of_cores = self.now_s + self._cores.next_end_s
            of_downloads = self._downloads[0][0] if self._downloads else math.inf
            following = min(of_cores, of_downloads)
            if following > moment_s or following == math.inf:
                break
            self._pass_time(following)
            done = self._cores.end_first() if of_cores <= of_downloads else heappop(self._downloads)[2]
            done()
        if moment_s < math.inf:
            self._pass_time(moment_s)

    def arrive(self, known: bool) -> None:
        if self.taken >= self._replica.places:
            self.refused += 1
            return
        self.taken += 1
        # Half of a request's time on the event loop is spent before its towers, half after them.
        half_s = (self._costs.known_loop_s if known else self._costs.new_loop_s) / 2
        answer = partial(self._loop.submit, half_s, partial(self._leave, self.now_s))
        fuse = partial(self._fusion.submit, answer)
        self._loop.submit(half_s, fuse if known else partial(self._look, fuse))

    def _look(self, fuse: Done) -> None:
        """Both towers; the second to end goes on."""
        ended: list[None] = []

        def one_ended() -> None:
            ended.append(None)
            if len(ended) == 2:
                fuse()

        self._text.submit(one_ended)
        submit = partial(self._image.submit, one_ended)
        decode: Done = partial(self._decoders.submit, self._costs.decode_s, submit)
        if not self._replica.download_s:
            decode()
            return
        ends_s = self.now_s + self._draw.expovariate(1 / self._replica.download_s)
        heappush(self._downloads, (ends_s, next(self._number), decode))

    def _leave(self, arrived_s: float) -> None:
        self.taken -= 1
        self.latencies_s.append(self.now_s - arrived_s)

    def _pass_time(self, moment_s: float) -> None:
        self._cores.pass_time(moment_s - self.now_s)
        self.now_s = moment_s

    def _vary(self) -> float:
        if not self._replica.variation:
            return 1.0
        squared = self._replica.variation**2
        return self._draw.gammavariate(1 / squared, squared)


def simulate(
    costs: Costs, replica: Replica, stream: Sequence[Arrival], seed: int, give_up_at: float = 1.0
) -> Outcome:
    """The stream through one replica, to its last answer; ends early once more than a share got a 503."""
    house = _House(costs, replica, Random(seed))  # noqa: S311  a simulation, no secret
    for arrival in stream:
        house.run_until(arrival.at_s)
        house.arrive(arrival.known)
        if house.refused > give_up_at * len(stream):
            break
    house.run_until(math.inf)
    seconds = max(house.now_s, stream[-1].at_s if stream else 0.0, 1e-9)
    return Outcome(len(stream), house.refused, seconds, sorted(house.latencies_s))
