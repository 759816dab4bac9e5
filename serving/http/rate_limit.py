"""So many videos a minute for each client, as plain ASGI: 429 beyond, and headers that say what is left.

The generic cell rate algorithm (ITU-T I.371): one number per client, the time at which all that it has taken
will have been earned back. Nobody is refused whose last minute held fewer videos than the limit, and what was
taken comes back evenly rather than all at once.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import RateLimitedError, answer_to
from serving.http.client_address import Network, client_of
from serving.http.paths import is_scoring

WINDOW_S = 60
# Whoever is forgotten starts with a full minute; to be forgotten early takes so many busier addresses.
MAX_CLIENTS = 100_000


class RateLimiter:
    """What each client may still take; at most `max_clients` are remembered, the latest ones."""

    # Own code: `limits` 5.8, the best-kept library, holds clients in a dict without a bound, starts a thread
    # to forget them whenever one comes after a pause, and brings three packages, for ten lines here.

    def __init__(
        self,
        per_minute: int,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        assert per_minute >= 1, "a limit of none is no service"
        self.per_minute = per_minute
        self._clock = clock
        self._max_clients = max_clients
        self._interval_s = WINDOW_S / per_minute
        self._earned_back: OrderedDict[str, float] = OrderedDict()
        self._limited = Counter(
            "miles_rate_limited",
            "Videos refused because their client had used up its limit.",
            registry=registry,
        )
        clients = Gauge("miles_rate_limited_clients", "Clients that are remembered.", registry=registry)
        clients.set_function(lambda: len(self._earned_back))

    def take(self, client: str, videos: int) -> int:
        """As many of `videos` as the client may have now; they are taken."""
        granted = min(videos, self.left(client))
        if granted:
            start = max(self._earned_back.get(client, 0.0), self._clock())
            self._earned_back[client] = start + granted * self._interval_s
            self._earned_back.move_to_end(client)
            if len(self._earned_back) > self._max_clients:
                self._earned_back.popitem(last=False)
        return granted

    def left(self, client: str) -> int:
        """How many videos the client may have now."""
        # A billionth, so that what was earned back to the last bit is not lost to rounding.
        return math.floor((WINDOW_S - self.until_full_s(client)) / self._interval_s + 1e-9)

    def until_full_s(self, client: str) -> float:
        """Seconds until the client has its whole minute again."""
        return max(0.0, self._earned_back.get(client, 0.0) - self._clock())

    def refuse(self, client: str) -> RateLimitedError:
        """The refusal of one video, counted."""
        self._limited.inc()
        one_more_s = max(1, math.ceil(self.until_full_s(client) + self._interval_s - WINDOW_S))
        return RateLimitedError(
            f"This client's limit is {self.per_minute} videos a minute. Ask again in {one_more_s} s.",
            one_more_s,
        )

    def fields(self, client: str) -> dict[str, str]:
        """Of draft-ietf-httpapi-ratelimit-headers-10: `r` videos are left, and all again in `t` seconds."""
        until_full_s = math.ceil(self.until_full_s(client))
        return {
            "RateLimit-Policy": f'"videos";q={self.per_minute};w={WINDOW_S}',
            "RateLimit": f'"videos";r={self.left(client)};t={until_full_s}',
        }


class Allowance:
    """What the client of one request may take; the request itself is its first video."""

    def __init__(self, limiter: RateLimiter, client: str) -> None:
        self._limiter, self._client = limiter, client

    def take(self, videos: int) -> int:
        """As many of `videos` as may be had now."""
        return self._limiter.take(self._client, videos)

    def refuse(self) -> RateLimitedError:
        """The refusal of one video."""
        return self._limiter.refuse(self._client)


class RateLimit:
    """Takes one video off the client's limit before anything is read, and tells on every answer what is left.

    The route of a batch takes the others from `scope["allowance"]`.
    """

    def __init__(self, app: ASGIApp, limiter: RateLimiter, trusted: Sequence[Network]) -> None:
        """`trusted` proxies name the client."""
        self._app, self._limiter, self._trusted = app, limiter, trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_scoring(scope):
            await self._app(scope, receive, send)
            return
        client = client_of(scope, self._trusted)

        async def send_with_fields(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._limiter.fields(client))
            await send(message)

        if not self._limiter.take(client, 1):
            await answer_to(self._limiter.refuse(client), scope)(scope, receive, send_with_fields)
            return
        scope["allowance"] = Allowance(self._limiter, client)
        await self._app(scope, receive, send_with_fields)
