"""The middleware around every route, as plain ASGI.

From the outside in: CORS (on every response, errors included), `RequestContext`, `ApiKeys`, `RateLimit`,
`LoadShedding`, `BodyLimits` and `CancelOnDisconnect`.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Sequence
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import structlog
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.auth import ApiKeys
from serving.http.limits import CLOSE, SCORING, BodyLimits, LoadShedding, is_scoring
from serving.http.problems import problem_response
from serving.http.rate_limit import RateLimit, RateLimiter
from serving.observability.metrics import Metrics
from serving.observability.tracing import install_tracing
from serving.scoring.admission import CLIENT, Admission, Pace
from serving.settings import Settings

ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# A subscriber has at least a /64 (RFC 6177) and may use a new address in it for every request.
IPV6_PREFIX = 64
PROBES = "/health/"  # never wait behind a burst of requests
LEAVE_PER_TURN = 32  # requests whose client has disconnected; ending one takes 0.3 ms
Network = IPv4Network | IPv6Network
log = structlog.get_logger()


def install_middleware(app: FastAPI, settings: Settings, metrics: Metrics, admission: Admission) -> None:
    """Add the middleware to `app`; the last one added is the outermost."""
    app.add_middleware(CancelOnDisconnect)
    app.add_middleware(BodyLimits, max_bytes=settings.max_request_bytes, timeout_s=settings.receive_timeout_s)
    app.add_middleware(LoadShedding, admission=admission)
    if settings.rate_limit:
        limiter = RateLimiter(settings.rate_limit, metrics.registry)
        app.add_middleware(RateLimit, limiter=limiter)
    if settings.api_keys:
        app.add_middleware(ApiKeys, keys=[key.get_secret_value() for key in settings.api_keys])
    timeout_s, trusted = settings.request_timeout_s, settings.trusted_proxies
    app.add_middleware(RequestContext, metrics=metrics, timeout_s=timeout_s, trusted=trusted)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[origin for origin in settings.cors_origins if "*" not in origin or origin == "*"],
        allow_origin_regex=_wildcards([origin for origin in settings.cors_origins if origin != "*"]),
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=["X-Request-ID", "Retry-After", "Server-Timing", "RateLimit", "RateLimit-Policy"],
    )
    install_tracing(app, metrics.tracing)


def _wildcards(origins: Sequence[str]) -> str | None:
    """One regular expression for the origins with `*`, which matches one or more labels of a host name."""
    patterns = [
        re.escape(origin).replace(r"\*", r"[a-z0-9-]+(\.[a-z0-9-]+)*") for origin in origins if "*" in origin
    ]
    return "|".join(f"(?:{pattern})" for pattern in patterns) or None


class RequestContext:
    """Sets a request's id and deadline, logs and counts its response, and answers unhandled errors."""

    def __init__(
        self, app: ASGIApp, metrics: Metrics, timeout_s: float, trusted: Sequence[Network] = ()
    ) -> None:
        """`trusted` are the networks of proxies whose X-Forwarded-For is believed."""
        self._app, self._metrics = app, metrics
        self._timeout_s, self._trusted = timeout_s, trusted
        self._pace = Pace()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "POST" and (path := scope["path"].removesuffix("/")) in SCORING:
            scope["path"] = path  # a trailing slash is the same route
        request_id = scope["request_id"] = _request_id(Headers(scope=scope))
        CLIENT.set(client_of(scope, self._trusted))
        scope["deadline"] = asyncio.get_running_loop().time() + self._timeout_s
        started, status = time.perf_counter(), 0
        # HEAD works wherever GET does (RFC 9110, 9.3.2); the server leaves the body out.
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        if not scope["path"].startswith(PROBES):
            await self._pace.turn()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
                self._count(_route(inner), _method(scope), status, time.perf_counter() - started)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if refusal := scope.get("refusal"):  # serving.process.connections could not read it
                    status_code, detail = refusal
                    answer = problem_response(status_code, detail, scope, headers=CLOSE)
                    await answer(scope, receive, send_with_id)
                else:
                    await self._app(inner, receive, send_with_id)
            except Exception:
                log.exception("unhandled_error")
                if status:  # the response has begun: only closing the connection can show that it is broken
                    raise
                answer = problem_response(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    "Internal error. Quote `instance` when you report it.",
                    scope,
                )
                await answer(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                log.info(
                    "request",
                    method=scope["method"],
                    route=_route(inner),
                    status=status,
                    seconds=round(seconds, 4),
                )

    def _count(self, route: str, method: str, status: int, seconds: float) -> None:
        self._metrics.requests.labels(route, method, status).inc()
        self._metrics.latency.labels(route).observe(seconds)


class CancelOnDisconnect:
    """Cancels a scoring request when its client disconnects, which drops its videos from the queues.

    An ASGI server reports a disconnect only from `receive`, which a computing route does not call. So this
    class calls it once the body has been read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pace = Pace(LEAVE_PER_TURN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_scoring(scope):
            await _Exchange(receive, self._pace).run(self._app, scope, send)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    """One request, from its last byte to its response."""

    def __init__(self, receive: Receive, departures: Pace) -> None:
        self._receive, self._departures = receive, departures
        self._watch: asyncio.Task[Message] | None = None
        self._is_answered = False
        self._has_left = False

    async def run(self, app: ASGIApp, scope: Scope, send: Send) -> None:
        route = asyncio.current_task()
        assert route is not None, "a server runs each request in a task"
        self._route = route

        async def send_and_watch(message: Message) -> None:
            # Set before sending: the server reports a disconnect after the last byte, too.
            self._is_answered = message["type"] == "http.response.body" and not message.get(
                "more_body", False
            )
            await send(message)

        try:
            await app(scope, self.receive, send_and_watch)
        except asyncio.CancelledError:
            if not self._has_left or route.uncancel():
                raise  # the server is shutting down
        finally:
            if self._watch is not None:
                self._watch.remove_done_callback(self._leave)
                self._watch.cancel()

    async def receive(self) -> Message:
        """The server's next message; after the body that can only be a disconnect."""
        if self._watch is not None:
            return await asyncio.shield(self._watch)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._watch = asyncio.ensure_future(self._receive())
            self._watch.add_done_callback(self._leave)
        return message

    def _leave(self, watch: "asyncio.Task[Message]") -> None:
        if not (self._is_answered or watch.cancelled() or watch.exception()):
            self._departures.call(self._cancel)

    def _cancel(self) -> None:
        if not (self._is_answered or self._route.done()):
            self._has_left = True
            self._route.cancel()


def _request_id(headers: Headers) -> str:
    """The client's request id if it is safe in a header and in a log, otherwise a new one."""
    offered = headers.get("x-request-id", "")
    return offered if ACCEPTABLE_ID.fullmatch(offered) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """The route's template, because arbitrary paths must not become metric labels."""
    unrouted = scope["path"] if scope["path"] in SCORING else "unknown"  # refused before routing
    return str(getattr(scope.get("route"), "path", unrouted))


def _method(scope: Scope) -> str:
    method = scope["method"]
    return method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"


def client_of(scope: Scope, trusted: Sequence[Network]) -> str:
    """The client's address, for IPv6 its /64; `unknown` if the server does not know the peer.

    Each proxy appends the address that called it to `X-Forwarded-For`: the client is the first from the right
    that is not a `trusted` proxy, and everything left of it could have been forged. Never logged.
    """
    peer = _address(scope["client"][0]) if scope.get("client") else None
    if peer is None:
        return "unknown"
    if trusted:
        hops = [
            hop for name, value in scope["headers"] if name == b"x-forwarded-for" for hop in value.split(b",")
        ]
        while hops and any(peer in network for network in trusted):
            before = _address(hops.pop().decode("latin-1"))
            if before is None:  # unreadable: the proxy itself counts as the client
                break
            peer = before
    return _block(peer)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse `1.2.3.4`, `1.2.3.4:5`, `::1`, `[::1]` or `[::1]:5`; an IPv4-mapped address is IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _block(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Address(int(address) >> IPV6_PREFIX << IPV6_PREFIX))
