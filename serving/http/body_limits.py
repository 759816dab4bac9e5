"""What a request's body may be, as plain ASGI: JSON, of a bounded size, and there in a bounded time."""

import asyncio
from email.message import Message as Header
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.paths import RELOAD
from serving.http.problems import problem_response


class BodyGuard:
    """Refuses bodies that are not JSON (415), too large (413, before they are read) or too slow (408)."""

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A reload has no body, and what is sent along is not read.
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] == RELOAD:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = _not_json(headers) or self._too_large(headers.get("content-length", "0"))
        if refusal:
            status, detail = refusal
            await problem_response(status, detail, scope)(scope, receive, send)
            return
        received, is_whole = 0, False
        until = asyncio.get_running_loop().time() + self._timeout_s

        async def receive_within_limits() -> Message:
            nonlocal received, is_whole
            if is_whole:  # what comes now is that the client left, and that may take as long as it likes
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError as exc:
                raise self._too_slow(received) from exc
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                status, detail = self._too_large(str(received)) or (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "")
                raise HTTPException(status, detail)
            return message

        await self._app(scope, receive_within_limits, send)

    def _too_slow(self, received: int) -> HTTPException:
        return HTTPException(
            HTTPStatus.REQUEST_TIMEOUT,
            f"The body was not whole after {self._timeout_s:g} s; {received} bytes had come.",
            headers={"Connection": "close"},  # what still comes is the rest of this body, not a request
        )

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
