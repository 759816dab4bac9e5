"""Which paths score, and the limits on their requests: slots (503), type (415), size (413), time (408).

Health, metrics, the page and the documentation have no limits, so an overloaded service can be inspected.
The event loop's work is bounded: a large body is parsed in a thread, after its values have been counted.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import partial
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitResponder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import OverloadedError
from serving.http.form import MULTIPART, parse_form
from serving.http.problems import answer_to, problem_response
from serving.scoring.admission import CLIENT, Admission

PREDICT = "/predict"
PREDICT_BATCH = "/predict/batch"
RELOAD = "/admin/reload"
EXPLAIN = "/explain"
SCORING = frozenset({PREDICT, PREDICT_BATCH, EXPLAIN})
CLOSE = {"Connection": "close"}  # data that still arrives belongs to the refused body, not to a request
MAX_MEDIA_TYPE = 200  # characters
SMALL_BODY = 256 * 1024  # bytes; parsed within 30 ms, and not refused while large bodies are
MAX_VALUES = 100_000  # names and values of one body; 400 for each video of a full batch
MAX_NUMBER = 1000  # digits; Python reads numbers in quadratic time
MAX_DIGITS = 1_000_000  # of all numbers of a body, which is parsed in one go
AS_ZEROS = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
BODIES_AT_ONCE = 4  # of the maximum size


def is_scoring(scope: Scope) -> bool:
    """Whether the request asks for scores."""
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in SCORING


def needs_key(scope: Scope) -> bool:
    """Whether the request needs an API key, if the service has keys."""
    return is_scoring(scope) or (
        scope["type"] == "http"
        and (scope["path"] == RELOAD or (scope["method"] == "GET" and scope["path"].startswith("/youtube/")))
    )


class LoadShedding:
    """Refuses scoring requests before their body is read while the queue is full.

    From here on a key identifies the client, from any address; without keys, the address does.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app, self._admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        CLIENT.set(scope.get("key") or CLIENT.get())
        if self._admission.is_full() and is_scoring(scope):
            await answer_to(self._admission.refuse(), scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class BodyBudget:
    """The bytes of all bodies in flight, from their first byte to their answer.

    Small bodies may use twice the limit, so that large ones don't shut them out.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._limit = BODIES_AT_ONCE * max(max_body_bytes, SMALL_BODY)
        self._taken = 0

    def take(self, size: int, body_bytes: int) -> None:
        """Count `size` more bytes of a body that has `body_bytes` so far. Raises `OverloadedError`."""
        self._taken += size
        if self._taken > (self._limit if body_bytes > SMALL_BODY else 2 * self._limit):
            raise OverloadedError(
                f"At capacity: request bodies take {self._taken} bytes of memory. Retry in 1 s.", 1
            )

    def give_back(self, size: int) -> None:
        """Free the bytes of a request that has been answered."""
        self._taken -= size


class BodyLimits:
    """Middleware that refuses a body by its headers before reading it, and limits how it is read."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app, self._max_bytes, self._timeout_s = app, max_bytes, timeout_s
        self._budget = BodyBudget(max_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A reload has no body; one that is sent anyway is not read. A wrong route gets its 404 or 405.
        if not is_scoring(scope):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        declared = int(length) if length.isdigit() else 0
        refusal = _unsupported(headers, scope["path"]) or self._too_large(declared)
        if refusal:
            await problem_response(*refusal, scope)(scope, receive, send)
            return
        reader = _BodyReader(self._app, self._max_bytes, self._timeout_s, self._budget)
        try:
            self._budget.take(declared, declared)
        except OverloadedError as exc:
            await answer_to(exc, scope, CLOSE)(scope, receive, send)
            return
        finally:
            self._budget.give_back(declared)
        try:
            await reader(scope, receive, send)
        finally:
            self._budget.give_back(reader.counted)

    def _too_large(self, length: int) -> tuple[HTTPStatus, str] | None:
        if length > self._max_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _size_message(length, self._max_bytes)
        return None


class _BodyReader(RequestBodyLimitResponder):
    """Starlette's size limit, which raises without the two sizes, plus a time limit and the budget."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, budget: BodyBudget) -> None:
        super().__init__(app, max_bytes)
        self._timeout_s, self._budget = timeout_s, budget
        self.counted = 0
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
                headers=CLOSE,
            ) from exc
        except HTTPException as exc:
            detail = _size_message(self.total_size, self.max_body_size)
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail) from exc
        self._count()
        if refusal := self.scope.get("refusal"):  # the body's framing is invalid, or it ended early
            status, detail = refusal
            raise HTTPException(status, detail, headers=CLOSE)
        self._is_complete = not message.get("more_body", False)
        return message

    def _count(self) -> None:
        received, self.counted = self.total_size - self.counted, self.total_size
        try:
            self._budget.take(received, self.total_size)
        except OverloadedError as exc:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(exc), headers=CLOSE) from exc


class BodyRoute(APIRoute):
    """A route whose body is parsed by `parse_json` or `parse_form`, in a thread if it is large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, for a request that parses its body as described above."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            content_type = request.headers.get("content-type", "")
            if not _is_form(content_type):
                return await handler(_ParsedRequest(request.scope, request.receive, parse_json))
            # FastAPI reads a body as JSON by its type; a form's values are validated like JSON.
            named = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
            scope = {**request.scope, "headers": [*named, (b"content-type", b"application/json")]}
            return await handler(_ParsedRequest(scope, request.receive, partial(parse_form, content_type)))

        return handle


class _ParsedRequest(Request):
    def __init__(self, scope: Scope, receive: Receive, parse: Callable[[bytes], Any]) -> None:
        super().__init__(scope, receive)
        self._parse = parse

    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= SMALL_BODY:
            return self._parse(body)
        return await asyncio.to_thread(self._parse, body)


def parse_json(body: bytes) -> Any:
    """The value of a JSON text.

    Raises `JSONDecodeError`, or `HTTPException` for another encoding, more than `MAX_VALUES` names and values
    (counted outside strings, before any value exists), more than `MAX_DIGITS` digits, a number of more than
    `MAX_NUMBER` of them, and values nested deeper than Python's recursion limit.
    """
    bare = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if (strings := bare.count(b'"') // 2) > MAX_VALUES:
        raise _too_many(strings)
    outside = b"".join(bare.split(b'"')[::2])
    if (values := sum(outside.count(mark) for mark in (b",", b":", b"[", b"{"))) > MAX_VALUES:
        raise _too_many(values)
    digits = outside.translate(AS_ZEROS)  # a regular expression takes quadratic time for many long numbers
    if (count := digits.count(b"0")) > MAX_DIGITS:
        raise HTTPException(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body's numbers have {count} digits, the limit is {MAX_DIGITS}; send fewer videos.",
        )
    if b"0" * (MAX_NUMBER + 1) in digits:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, f"The body has a number of more than {MAX_NUMBER} digits."
        )
    try:
        return json.loads(body.decode("utf-8-sig", "surrogatepass"))
    except UnicodeDecodeError as exc:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"The body is not UTF-8: {exc.reason}.") from exc
    except RecursionError as exc:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The body's values are nested too deeply.") from exc


def _too_many(values: int) -> HTTPException:
    detail = (
        f"The body has {values} names and values, the limit is {MAX_VALUES}; send fewer videos or fields."
    )
    return HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def _size_message(size: int, limit: int) -> str:
    return f"Request body too large: {size} bytes, the limit is {limit} bytes."


def _is_form(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == MULTIPART


def _unsupported(headers: Headers, path: str) -> tuple[HTTPStatus, str] | None:
    """The 415 for a body that is compressed or of a type that its route does not take; None for others."""
    unsupported = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    if headers.get("content-encoding", "identity").lower() != "identity":
        return unsupported, "Compressed bodies are not supported; send the body without Content-Encoding."
    content_type = headers.get("content-type", "")
    media_type, *parameters = content_type[: MAX_MEDIA_TYPE + 1].lower().split(";")
    if _is_form(content_type) and path == PREDICT and len(content_type) <= MAX_MEDIA_TYPE:
        return None
    if media_type.strip() != "application/json" or len(content_type) > MAX_MEDIA_TYPE:
        return unsupported, (
            "The body must be JSON; send `Content-Type: application/json`, and a picture as thumbnail_url: "
            "an https: URL or data:image/jpeg;base64,... /predict also takes multipart/form-data: the fields "
            "and the picture as a file (curl -F title=... -F thumbnail=@picture.jpg)."
        )
    named = dict(parameter.strip().partition("=")[::2] for parameter in parameters)
    if named.get("charset", "utf-8").strip('"') not in ("utf-8", "utf8", "us-ascii"):
        return unsupported, "JSON must be UTF-8; send it without another charset."
    return None
