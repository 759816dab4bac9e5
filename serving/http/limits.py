"""Which paths score, and what their requests must keep to: slots (503), JSON (415), size (413), time (408).

Health, metrics, the page and the documentation have no limits, so an overloaded service can be inspected.
"""

import asyncio
from email.message import Message as Header
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.problems import answer_to, problem_response
from serving.scoring.admission import Admission

PREDICT = "/predict"
PREDICT_BATCH = "/predict/batch"
RELOAD = "/admin/reload"
EXPLAIN = "/explain"
SCORING = frozenset({PREDICT, PREDICT_BATCH, EXPLAIN})


def is_scoring(scope: Scope) -> bool:
    """Whether the request asks for scores."""
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in SCORING


def needs_key(scope: Scope) -> bool:
    """Whether the request needs an API key, if the service has keys."""
    return is_scoring(scope) or (scope["type"] == "http" and scope["path"] == RELOAD)


class LoadShedding:
    """Refuses scoring requests before their body is read while the queue is full."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._admission.is_full and is_scoring(scope):
            await answer_to(self._admission.refuse(), scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class BodyLimits:
    """Middleware that refuses a body by its headers before reading it, and limits how it is read."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app, self._max_bytes, self._timeout_s = app, max_bytes, timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A reload has no body; one that is sent anyway is not read.
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] == RELOAD:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = _not_json(headers) or self._too_large(headers.get("content-length", "0"))
        if refusal:
            await problem_response(*refusal, scope)(scope, receive, send)
        else:
            await _BodyReader(self._app, self._max_bytes, self._timeout_s)(scope, receive, send)

    def _too_large(self, length: str) -> tuple[HTTPStatus, str] | None:
        if length.isdigit() and int(length) > self._max_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _size_message(int(length), self._max_bytes)
        return None


class _BodyReader(RequestBodyLimitResponder):
    """Starlette's size limit, which raises without the two sizes, plus a time limit."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        super().__init__(app, max_bytes)
        self._timeout_s = timeout_s
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._is_complete = False

    async def receive_with_limit(self) -> Message:
        """The next part of the body; after the last one, the disconnect, for which there is no time limit."""
        if self._is_complete:
            return await self.receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await super().receive_with_limit()
        except TimeoutError as exc:
            raise HTTPException(
                HTTPStatus.REQUEST_TIMEOUT,
                f"Request body timed out after {self._timeout_s:g} s ({self.total_size} bytes received).",
                headers={"Connection": "close"},  # what still arrives belongs to this body, not to a request
            ) from exc
        except HTTPException as exc:
            detail = _size_message(self.total_size, self.max_body_size)
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail) from exc
        self._is_complete = not message.get("more_body", False)
        return message


def _size_message(size: int, limit: int) -> str:
    return f"Request body too large: {size} bytes, the limit is {limit} bytes."


def _not_json(headers: Headers) -> tuple[HTTPStatus, str] | None:
    unsupported = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        return unsupported, "Compressed bodies are not supported; send the body without Content-Encoding."
    header = Header()
    header["content-type"] = headers.get("content-type", "")
    if header.get_content_type() != "application/json":
        return unsupported, "The body must be JSON; send `Content-Type: application/json`."
    if (header.get_content_charset() or "utf-8") not in ("utf-8", "utf8", "us-ascii"):
        return unsupported, "JSON must be UTF-8; send it without another charset."
    return None
