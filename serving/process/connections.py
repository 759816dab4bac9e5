"""What one connection may cost and what it may send: uvicorn's protocol with limits against hostile clients.

uvicorn waits forever for a first request, for the rest of a request's headers and for a client to read; takes
headers of any size, pipelined requests of any number and connections until the process runs out of file
descriptors; loses the body of a request with Upgrade (uvicorn #2722), and answers malformed requests itself.
Here every wait has a limit, and the app answers refused requests, which have a `scope["refusal"]`.
`serving.http.limits` limits the body of a request.
"""

import asyncio
import re
import resource
from asyncio import TimerHandle
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 32 * 1024  # bytes of the request line and headers, of a chunk's extensions, of all trailers
MAX_PIPELINED = 16  # parsed requests that wait for the one before them
SLICE = 8192  # bytes parsed at a time, so that the two limits above are noticed soon
PEER_CHECK_S = 0.25
LINGER_S = 2.0  # for a client that is still sending when it is refused
HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")  # RFC 3986, 3.2.2
FRAMING = (b"content-length", b"transfer-encoding")
Refusal = tuple[HTTPStatus, str]


def guarded(timeout_s: float) -> type["GuardedConnection"]:
    """The protocol with `timeout_s` for every wait; connections take at most half of the descriptors."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    max_connections = descriptors // 2 if descriptors != resource.RLIM_INFINITY else None
    return type("Guarded", (GuardedConnection,), {"timeout_s": timeout_s, "max_connections": max_connections})


class GuardedConnection(HttpToolsProtocol):
    """One connection; see `guarded`."""

    timeout_s: float
    max_connections: int | None
    """Maximum number of connections; None for no limit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: TimerHandle | None = None
        self._reader: TimerHandle | None = None
        self._peer: TimerHandle | None = None
        self._is_in_head = True
        self._head_bytes = 0
        self._body_parts: list[bytes] = []
        self._unread = b""
        self._is_deaf = False  # nothing more is read: what follows belongs to a refused request
        self._is_replaying = False
        self._is_lingering = False
        self._stand_in: tuple[Refusal, list[tuple[bytes, bytes]]] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the headers of a request."""
        super().connection_made(transport)
        if self.max_connections is not None and len(self.connections) > self.max_connections:
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._forget_head()
        self._unread = b""
        if self._peer is not None:
            self._peer.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse requests, as long as few of them wait; keep waiting for headers until a request has begun."""
        self._unset_keepalive_if_required()
        data, self._unread = self._unread + data, b""
        for start in range(0, len(data), SLICE):
            if self._is_deaf or self.parser is None:
                return
            if len(self.pipeline) >= MAX_PIPELINED:
                self._unread = data[start:]
                self.flow.pause_reading()
                return
            self._feed(data[start : start + SLICE])
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a client that ends its side of the connection after its request.

        A client that has closed the connection looks the same until it is written to.
        """
        cycle = self.cycle
        if self._is_lingering or cycle is None or cycle.response_complete:
            return False
        if cycle.more_body:
            self._refuse(HTTPStatus.BAD_REQUEST, "The connection was closed before the body was complete.")
        self._is_deaf, cycle.keep_alive = True, False
        self._check_peer()
        return True

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        if self._is_deaf and self._stand_in is None:
            raise ConnectionError("nothing more is read")
        self._head_bytes = 0
        if not self._is_replaying:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Part of the request's line."""
        if not self._is_replaying:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer, which is dropped: it must not change what was decided before the body."""
        if self._is_in_head and not self._is_replaying:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request has begun."""
        self._is_in_head = False
        if self._is_replaying:
            return
        self._forget_head()
        refusal = self._refusal()
        if self._stand_in is not None:
            refusal, headers = self._stand_in
            self.headers += headers
        if refusal:
            self._is_deaf = True
            self.scope["refusal"] = refusal  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        self.cycle.keep_alive &= not refusal
        self.cycle.transport = _Transport(self)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Part of the body, kept until the end of the slice, which may hold a thousand chunks."""
        self._body_parts.append(body)

    def on_message_complete(self) -> None:
        """The request's last byte."""
        self._pass_body_on()
        self._is_in_head, self._head_bytes = True, 0
        if not self._is_replaying:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Parse the data that had to wait, now that fewer requests are waiting."""
        if self._is_lingering:
            return
        super().on_response_complete()
        if self._unread and not self.transport.is_closing():
            self.data_received(b"")

    def close(self) -> None:
        """Close after a response; keep reading if the client is still sending, or it loses the response."""
        if self.cycle.more_body or self._stand_in is not None or "refusal" in self.cycle.scope:
            self._is_lingering = self._is_deaf = True
            self.transport.write_eof()
            self.flow.resume_reading()
            self._peer = self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client reads too slowly, or not at all."""
        super().pause_writing()
        self._reader = self._reader or self.loop.call_later(self.timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if the client has not read the whole response."""
        super().timeout_keep_alive_handler()
        self._reader = self._reader or self.loop.call_later(self.timeout_s, self.transport.abort)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._ignore_upgrade(data[exc.args[0] :])
        except httptools.HttpParserError as exc:
            if not self._is_deaf:
                reason = "" if isinstance(exc, httptools.HttpParserCallbackError) else f": {exc}"
                self._refuse(HTTPStatus.BAD_REQUEST, f"The request is not valid HTTP/1.1{reason}.")
        else:
            self._pass_body_on()
            self._head_bytes += len(data)  # since the last byte of a body
            if self._head_bytes > MAX_HEAD + SLICE:
                self._refuse(*_head_too_large())

    def _pass_body_on(self) -> None:
        if self._body_parts:
            body = b"".join(self._body_parts)
            self._body_parts.clear()
            self._head_bytes = 0
            super().on_body(body)

    def _refusal(self) -> Refusal | None:
        """Why a request with these headers is not handled; None if it is."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD:
            return _head_too_large()
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            return HTTPStatus.BAD_REQUEST, f"Expected one Host header, got {len(hosts)}."
        if hosts and not HOST.fullmatch(hosts[0]):
            return HTTPStatus.BAD_REQUEST, "The Host header is not a host name with an optional port."
        codings = b",".join(value for name, value in self.headers if name == b"transfer-encoding")
        if codings and codings.strip().lower() != b"chunked":  # RFC 9112, 6.1
            return HTTPStatus.NOT_IMPLEMENTED, (
                f"Expected the transfer coding chunked or none, got {codings[:80].decode('latin-1')}. "
                "Send the body uncompressed, with a Content-Length or chunked."
            )
        return None

    def _refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer a request that can't be read any further, after the requests before it."""
        self._is_deaf = True
        self._forget_head()
        if self._is_in_head or self.cycle is None or self.cycle.scope is not self.scope:
            self._stand_in = (status, detail), self.headers or []
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(b"GET / HTTP/1.1\r\n\r\n")
        elif self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.scope["refusal"] = status, detail  # type: ignore[typeddict-unknown-key]
            self.cycle.keep_alive = self.cycle.more_body = False
            self.cycle.message_event.set()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the body that httptools skips, and what follows, with a parser that knows only the framing."""
        if self._is_deaf:
            return
        if self.scope["method"] == "CONNECT":
            self._is_deaf, self.cycle.keep_alive = True, False
            return
        lines = [b"POST / HTTP/" + self.scope["http_version"].encode()]
        lines += [name + b": " + value for name, value in self.headers if name in FRAMING]
        lines += [] if self.cycle.keep_alive else [b"connection: close"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._is_replaying = True
        self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        self._is_replaying = False
        if not self._is_in_head:  # a body follows
            self.cycle.more_body = True
            self.cycle.message_event.clear()
        if rest:
            self._feed(rest)

    def _check_peer(self) -> None:
        """Find out whether a client that has ended its side still listens: a closed connection sends a reset.

        An HTTP/1.0 client does not know interim responses, so a reset is seen only after the response.
        """
        if self.transport.is_closing() or self.cycle.response_complete:
            return
        is_new = self.cycle.scope["http_version"] == "1.1"
        if is_new and not self.pipeline and not self.cycle.response_started:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")  # which clients skip (RFC 9110, 15.2)
        self._peer = self.loop.call_later(PEER_CHECK_S, self._check_peer)

    def _expect_head(self) -> None:
        # Not restarted with every byte: a client could send one per second forever.
        if self._head is None:
            self._head = self.loop.call_later(self.timeout_s, self.transport.close)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class _Transport:
    """A connection's transport, as the cycle of a request sees it."""

    def __init__(self, connection: GuardedConnection) -> None:
        self._connection = connection
        self.close = connection.close

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection.transport, name)


def _head_too_large() -> Refusal:
    return (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"The request's line and headers are too large; the limit is {MAX_HEAD} bytes.",
    )
