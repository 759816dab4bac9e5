"""Cancels a scoring request when its client disconnects.

An ASGI server reports a disconnect only from `receive`, which a computing route does not call. So this calls
it once the body has been read, and cancels the route, which drops its videos from the queues.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.paths import is_scoring


class CancelOnDisconnect:
    """Middleware that cancels a scoring request when its client disconnects."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_scoring(scope):
            await _Exchange(receive).run(self._app, scope, send)
        else:
            await self._app(scope, receive, send)


class _Exchange:
    """One request, from its last byte to its response."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
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
            self._has_left = True
            self._route.cancel()
