"""The client that posts a stream, beside real servers on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from benchmarks.capacity.client import Client, closed_loop, open_loop

ANSWER = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """One request's body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    return await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))


async def echo_status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the status that the body names, after 50 ms; hangs up if it begins with a blank."""
    while not reader.at_eof():
        try:
            body = await read_request(reader)
        except asyncio.IncompleteReadError:
            break
        await asyncio.sleep(0.05)
        writer.write(ANSWER % int(body))
        if body.startswith(b" "):
            break
    writer.close()


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """A server on a free port of loopback; left when all its clients have left."""
    served: list[asyncio.Task[None]] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        await serve(reader, writer)
        await writer.wait_closed()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]
        await asyncio.gather(*served)


def test_a_stream_waits_for_no_answer() -> None:
    """Twenty requests that are due at once are under way at once, and each has its own status."""

    async def run() -> None:
        async with server(echo_status) as port:
            answers = await open_loop(port, [0.0] * 20, [b"200", b"503"] * 10)
        assert [answer.status for answer in answers] == [200, 503] * 10
        assert all(answer.seconds >= 0.05 for answer in answers)
        assert sum(answer.seconds for answer in answers) > 20 * 0.05

    asyncio.run(run())


def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    """The next request has a new one, and its answer."""

    async def run() -> None:
        async with server(echo_status) as port:
            client = Client(port)
            assert await client.post(b" 200") == 200
            await asyncio.sleep(0.05)
            assert await client.post(b"201") == 201
            client.close()

    asyncio.run(run())


def test_no_answer_is_said() -> None:
    """A server that hangs up, and one that is not there, are a status of 0."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def run() -> None:
        async with server(hang_up) as port:
            assert await Client(port).post(b"200") == 0
        assert await Client(port).post(b"200") == 0

    asyncio.run(run())


def test_a_loop_ends_when_nothing_is_left_to_ask() -> None:
    """Three clients share five requests."""

    async def run() -> None:
        async with server(echo_status) as port:
            assert await closed_loop(port, [b"200"] * 5, 3, 60) == [200] * 5

    asyncio.run(run())
