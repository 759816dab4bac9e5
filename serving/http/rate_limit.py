"""Rate limit in videos per minute and client: 429 above it, and `RateLimit` headers on every answer.

The generic cell rate algorithm (ITU-T I.371): one number per client, the time at which its allowance is full
again. A client that stayed below the limit for a minute is never refused, and the allowance refills evenly.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import RateLimitedError
from serving.http.limits import is_scoring
from serving.http.problems import answer_to
from serving.scoring.admission import CLIENT, EXPLAINED

WINDOW_S = 60
# A forgotten client starts with a full allowance; one is forgotten after this number of more recent clients.
MAX_CLIENTS = 100_000


class RateLimiter:
    """The allowance of each client; only the `max_clients` most recent ones are remembered."""

    # Not a library: `limits` 5.8, the best maintained, keeps clients in an unbounded dict, starts a thread to
    # expire them and brings three packages, for the ten lines below.

    def __init__(
        self,
        per_minute: int,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        assert per_minute >= 1, "a limit below 1 would refuse every request"
        self.per_minute = per_minute
        self._clock = clock
        self._max_clients = max_clients
        self._interval_s = WINDOW_S / per_minute
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._limited = Counter(
            "miles_rate_limited",
            "Videos refused by the rate limit.",
            registry=registry,
        )
        clients = Gauge("miles_rate_limited_clients", "Clients currently tracked.", registry=registry)
        clients.set_function(lambda: len(self._full_at))

    def take(self, client: str, videos: int) -> int:
        """Take up to `videos` from the client's allowance; how many were granted."""
        granted = min(videos, self.left(client))
        if granted:
            start = max(self._full_at.get(client, 0.0), self._clock())
            self._full_at[client] = start + granted * self._interval_s
            self._full_at.move_to_end(client)
            if len(self._full_at) > self._max_clients:
                self._full_at.popitem(last=False)
        return granted

    def left(self, client: str) -> int:
        """How many videos the client may send now."""
        # 1e-9 keeps a video that has just been refilled from being lost to rounding.
        return math.floor((WINDOW_S - self.until_full_s(client)) / self._interval_s + 1e-9)

    def until_full_s(self, client: str) -> float:
        """Seconds until the client's allowance is full again."""
        return max(0.0, self._full_at.get(client, 0.0) - self._clock())

    def refuse(self, client: str, videos: int = 1) -> RateLimitedError:
        """Count one refused video; the error to answer with, whose wait is for an allowance of `videos`."""
        self._limited.inc()
        wait_s = max(1, math.ceil(self.until_full_s(client) + videos * self._interval_s - WINDOW_S))
        return RateLimitedError(
            f"Rate limit exceeded: {self.per_minute} videos per minute. Retry in {wait_s} s.", wait_s
        )

    def fields(self, client: str) -> dict[str, str]:
        """Headers of draft-ietf-httpapi-ratelimit-headers-10: `r` videos left, full again in `t` seconds."""
        until_full_s = math.ceil(self.until_full_s(client))
        return {
            "RateLimit-Policy": f'"videos";q={self.per_minute};w={WINDOW_S}',
            "RateLimit": f'"videos";r={self.left(client)};t={until_full_s}',
        }


class Allowance:
    """The allowance of one request's client; the request itself has already taken one video."""

    def __init__(self, limiter: RateLimiter, client: str) -> None:
        self._limiter, self._client = limiter, client

    def take(self, videos: int) -> int:
        """Take up to `videos`; how many were granted."""
        return self._limiter.take(self._client, videos)

    def take_explanation(self) -> None:
        """Take what explaining a video costs beyond its score. Raises `RateLimitedError`.

        A refusal takes nothing more, so a client that retries after the stated wait has enough.
        """
        more = min(EXPLAINED, self._limiter.per_minute) - 1
        if self._limiter.left(self._client) < more:
            raise self._limiter.refuse(self._client, more + 1)
        self.take(more)

    def refuse(self) -> RateLimitedError:
        """Count one refused video; the error to answer with."""
        return self._limiter.refuse(self._client)


class RateLimit:
    """Middleware that takes one video from the client's allowance before the body is read.

    The batch route takes the others from `scope["allowance"]`.
    """

    def __init__(self, app: ASGIApp, limiter: RateLimiter) -> None:
        self._app, self._limiter = app, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_scoring(scope):
            await self._app(scope, receive, send)
            return
        client = CLIENT.get()

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._limiter.fields(client))
            await send(message)

        if not self._limiter.take(client, 1):
            await answer_to(self._limiter.refuse(client), scope)(scope, receive, send_with_fields)
            return
        scope["allowance"] = Allowance(self._limiter, client)
        await self._app(scope, receive, send_with_fields)
