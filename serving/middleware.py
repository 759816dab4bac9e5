"""What happens to every request before its route, as plain ASGI: id, log line, limits, last resort.

From the outside in: CORS (on every answer, errors included), `RequestContext`, `BodyGuard`, the app.
"""

import re
import time
import uuid
from collections.abc import Sequence
from email.message import Message as Header
from http import HTTPStatus

import structlog
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import problem_response
from serving.settings import Settings
from serving.telemetry import Telemetry

ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
log = structlog.get_logger()


def install_middleware(app: FastAPI, settings: Settings, telemetry: Telemetry) -> None:
    """Put the middleware around `app`; the last added is the outermost."""
    app.add_middleware(BodyGuard, max_bytes=settings.max_request_bytes)
    app.add_middleware(RequestContext, telemetry=telemetry)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=[origin for origin in settings.cors_origins if "*" not in origin or origin == "*"],
        allow_origin_regex=_wildcards([origin for origin in settings.cors_origins if origin != "*"]),
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["*"],
        expose_headers=["X-Request-ID", "Retry-After", "Server-Timing"],
    )


def _wildcards(origins: Sequence[str]) -> str | None:
    """One pattern for the origins that hold `*`, which stands for one or more labels of a host."""
    patterns = [
        re.escape(origin).replace(r"\*", r"[a-z0-9-]+(\.[a-z0-9-]+)*") for origin in origins if "*" in origin
    ]
    return "|".join(f"(?:{pattern})" for pattern in patterns) or None


class RequestContext:
    """Gives each request an id, logs and counts its answer, and answers for what nobody else caught."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = scope["request_id"] = _request_id(Headers(scope=scope))
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
                self._count(scope, status, time.perf_counter() - started)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("unhandled_error")
                if status:  # half an answer is out: only closing the connection can say that it is broken
                    raise
                answer = problem_response(
                    HTTPStatus.INTERNAL_SERVER_ERROR,
                    "Something went wrong on our side. Quote the instance when you report it.",
                    f"urn:miles:request:{request_id}",
                )
                await answer(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                log.info(
                    "request",
                    method=scope["method"],
                    route=_route(scope),
                    status=status,
                    seconds=round(seconds, 4),
                )

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope)
        self._telemetry.requests.labels(route, _method(scope), status).inc()
        self._telemetry.latency.labels(route).observe(seconds)


class BodyGuard:
    """Refuses bodies that are too large (413) before they are read, and such that are not JSON (415)."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = _not_json(headers) or self._too_large(headers.get("content-length", "0"))
        if refusal:
            status, detail = refusal
            answer = problem_response(status, detail, f"urn:miles:request:{scope.get('request_id')}")
            await answer(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                status, detail = self._too_large(str(received)) or (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "")
                raise HTTPException(status, detail)
            return message

        await self._app(scope, receive_within_limit, send)

    def _too_large(self, length: str) -> tuple[HTTPStatus, str] | None:
        if length.isdigit() and int(length) > self._max_bytes:
            return (
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"The body has {length} bytes, the limit is {self._max_bytes}.",
            )
        return None


def _not_json(headers: Headers) -> tuple[HTTPStatus, str] | None:
    unsupported = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        return unsupported, "The body is compressed; send it as it is, without Content-Encoding."
    header = Header()
    header["content-type"] = headers.get("content-type", "")
    if header.get_content_type() != "application/json":
        return unsupported, "The body must be JSON: send `Content-Type: application/json`."
    if (header.get_content_charset() or "utf-8") not in ("utf-8", "utf8", "us-ascii"):
        return unsupported, "JSON is UTF-8; send it without another charset."
    return None


def _request_id(headers: Headers) -> str:
    """The client's own id when it is harmless in a header and in a log, a new one otherwise."""
    offered = headers.get("x-request-id", "")
    return offered if ACCEPTABLE_ID.fullmatch(offered) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    """The route's template: paths that strangers make up must not become metric labels."""
    return str(getattr(scope.get("route"), "path", "unknown"))


def _method(scope: Scope) -> str:
    method = scope["method"]
    return method if method in ("GET", "HEAD", "POST", "OPTIONS") else "other"
