"""Clients that leave, and what becomes of their work."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.middleware import CancelOnDisconnect
from tests.support.process import LIMIT_S

pytestmark = pytest.mark.anyio


class Client:
    """A server's side of one request, by hand: what is received, what was sent."""

    def __init__(self, *parts: bytes) -> None:
        self.left, self.has_read = asyncio.Event(), asyncio.Event()
        self.sent: list[Message] = []
        self._parts = list(parts or [b"{}"])

    async def receive(self) -> Message:
        if self._parts:
            part = self._parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(self._parts)}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        self.has_read.set()
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.left.set()  # a server reports a disconnect once the answer is sent
            await asyncio.sleep(0)


class Route:
    """Reads the body, works until `go_on` is set, and records how that ended."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.body = b""
        self.end = "never"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = await Request(scope, receive).body()
        self.begun.set()
        try:
            await self.go_on.wait()
            await PlainTextResponse("done")(scope, receive, send)
            await asyncio.sleep(0.01)  # what a framework still does once the answer is sent
            self.end = "answered"
        except asyncio.CancelledError:
            self.end = "cancelled"
            raise


@asynccontextmanager
async def asking(app: ASGIApp, client: Client, path: str = "/predict") -> AsyncIterator[asyncio.Task[None]]:
    """The request in a task of its own, as a server runs it."""
    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    task: asyncio.Task[None] = asyncio.ensure_future(
        CancelOnDisconnect(app)(scope, client.receive, client.send)
    )  # type: ignore[arg-type]
    yield task
    await asyncio.wait_for(asyncio.wait([task]), LIMIT_S)


async def test_client_that_stays_gets_its_answer() -> None:
    """A request whose body comes in parts is read whole and answered."""
    route, client = Route(), Client(b"a", b"b", b"c")
    async with asking(route, client) as task:
        await route.begun.wait()
        route.go_on.set()
    assert task.exception() is None
    assert (route.body, route.end) == (b"abc", "answered")
    assert client.sent[-1]["body"] == b"done"


async def test_work_of_a_client_that_left_is_cancelled() -> None:
    """When the client hangs up, the route is cancelled where it waits, and the server sees a normal end."""
    route, client = Route(), Client()
    async with asking(route, client) as task:
        await route.begun.wait()
        client.left.set()
    assert route.end == "cancelled"
    assert not task.cancelled()
    assert task.exception() is None
    assert client.sent == []


async def test_server_that_shuts_down_is_not_taken_for_a_client() -> None:
    """A cancellation from outside stays a cancellation."""
    route, client = Route(), Client()
    async with asking(route, client) as task:
        await route.begun.wait()
        task.cancel()
    assert task.cancelled()
    assert route.end == "cancelled"


async def test_other_routes_are_left_alone() -> None:
    route, client = Route(), Client()
    async with asking(route, client, path="/elsewhere"):
        await route.begun.wait()
        client.left.set()
        await asyncio.sleep(0.01)
        assert route.end == "never"
        route.go_on.set()
    assert route.end == "answered"


async def test_stream_ends_where_its_reader_left() -> None:
    """A streamed answer stops when its reader hangs up."""
    ended = asyncio.Event()

    async def lines() -> AsyncIterator[str]:
        try:
            yield "first\n"
            await asyncio.sleep(60)
            yield "second\n"
        finally:
            ended.set()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await StreamingResponse(lines())(scope, receive, send)

    client = Client()
    async with asking(stream, client) as task:
        await client.has_read.wait()
        await asyncio.sleep(0.01)  # the first line follows its head
        client.left.set()
    assert task.exception() is None
    assert [message.get("body") for message in client.sent] == [None, b"first\n"]
    await asyncio.wait_for(ended.wait(), LIMIT_S)
