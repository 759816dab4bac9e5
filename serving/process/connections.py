"""Connections that cost nothing while nothing comes: uvicorn's protocol, with an end to every wait.

uvicorn closes a connection that is idle after an answer. It waits for ever for a first request, for the rest
of a request's head, for a client to read, and takes connections until the process has no descriptor left for
anything else. All four end here; the body of a request is `serving.http.body_limits`'s.
"""

import asyncio
import resource
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def guarded(timeout_s: float) -> type["GuardedConnection"]:
    """The protocol for connections that wait so long, and are at most half of the descriptors we may open."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = descriptors // 2 if descriptors != resource.RLIM_INFINITY else None
    return type("Guarded", (GuardedConnection,), {"timeout_s": timeout_s, "most": most})


class GuardedConnection(HttpToolsProtocol):
    """One connection; see `guarded`."""

    timeout_s: float
    most: int | None
    """How many connections there may be; None for any number."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: TimerHandle | None = None
        self._reader: TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; it is expected to say something."""
        super().connection_made(transport)
        if self.most is not None and len(self.connections) > self.most:
            transport.abort()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._forget_head()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; while no request has begun with them, its head is waited for."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """A request begins."""
        self._forget_head()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write, or not at all."""
        super().pause_writing()
        self._reader = self._reader or self.loop.call_later(self.timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came after an answer; what the client has not read by then it has not read at all."""
        super().timeout_keep_alive_handler()
        self._reader = self._reader or self.loop.call_later(self.timeout_s, self.transport.abort)

    def _expect_head(self) -> None:
        # Not anew with every byte: a client that sends one a second would be waited for all day.
        if self._head is None:
            self._head = self.loop.call_later(self.timeout_s, self.transport.close)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None
