"""Time limits for connections: uvicorn's protocol with a limit on every wait, against slow clients.

uvicorn closes a connection that is idle after a response. It waits forever for a first request, for the rest
of a request's headers and for a client to read, and accepts connections until the process runs out of file
descriptors. This limits all four; `serving.http.limits` limits the body of a request.
"""

import asyncio
import resource
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


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
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Keep waiting for the headers until a request has begun."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """A request has begun."""
        self._forget_head()
        super().on_headers_complete()

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

    def _expect_head(self) -> None:
        # Not restarted with every byte: a client could send one per second forever.
        if self._head is None:
            self._head = self.loop.call_later(self.timeout_s, self.transport.close)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
