"""Servers for scenarios in a namespace: sites that answer, canaries that must never be asked."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.site import accepting

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
# Where a fetch that is led to an internal address would arrive; all of them listen.
INWARD = (
    ("127.0.0.1", 80), ("127.0.0.1", 443), ("127.0.0.53", 80), ("10.0.0.1", 80), ("169.254.169.254", 80),
    ("9.9.9.9", 22), ("9.9.9.9", 6379), ("9.9.9.9", 8080), ("::1", 80), ("fd00::1", 80),
)  # fmt: skip


@dataclass
class Site:
    """A listening socket: how many connections were made, and how many of them have ended."""

    connections: int = 0
    left: int = 0
    requests: list[str] = field(default_factory=list)


@asynccontextmanager
async def listening(
    address: str, port: int, talk: Talk, context: ssl.SSLContext | None = None
) -> AsyncGenerator[Site]:
    """A server that runs `talk` on each connection within the block; leaves no task behind."""
    site = Site()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        site.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await talk(reader, writer)
        site.left += 1
        writer.close()

    async with accepting(serve, address, port, context):
        yield site


def answering(answer: Callable[[str], bytes | None], requests: list[str] | None = None) -> Talk:
    """Read one request and answer by its path, then hang up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = head.split(" ")[1]
        if requests is not None:
            requests.append(head)
        writer.write(answer(path) or b"")
        await writer.drain()

    return talk


def whole(status: int, body: bytes = b"", *headers: bytes) -> bytes:
    """An answer with a length, after which the connection ends."""
    lines = (b"HTTP/1.1 %d -" % status, b"Content-Length: %d" % len(body), b"Connection: close", *headers)
    return b"\r\n".join((*lines, b"", body))


async def hear_out(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Never answer; return when the other side hangs up."""
    while await reader.read(65536):
        pass


@asynccontextmanager
async def canaries(places: Iterable[tuple[str, int]] = INWARD) -> AsyncGenerator[list[Site]]:
    """A site at each address that must never be asked; addresses that this machine lacks are skipped."""
    async with AsyncExitStack() as stack:
        sites = []
        for address, port in places:
            with suppress(OSError):
                sites.append(await stack.enter_async_context(listening(address, port, hear_out)))
        yield sites
