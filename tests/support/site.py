"""Local servers and networks for the thumbnail tests: real sockets, and every dial counted."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_network
from typing import Any

import httpcore2

from preprocessing.image import ImageError
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy

LOOPBACK = (ip_network("127.0.0.0/8"),)
# A public address; `Detour` takes its connections to the test's own server.
PUBLIC = "93.184.215.14"
PATIENCE_S = 20.0

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


class Site:
    """An HTTP server on 127.0.0.1 that answers each request as the test says, and remembers them."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.port = 0
        self.heads: list[str] = []
        self.connections = 0
        self.asked = asyncio.Event()
        self.hung_up = asyncio.Event()

    def url(self, path: str = "/a.jpg", scheme: str = "http") -> str:
        """A URL of this site by its address."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    @property
    def paths(self) -> list[str]:
        return [head.split(" ")[1] for head in self.heads]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the client disconnects."""
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
                self.asked.set()
                await self._answer(self.heads[-1].split(" ")[1], writer)
                await writer.drain()
        self.hung_up.set()


@asynccontextmanager
async def accepting(
    serve: Serve, address: str = "127.0.0.1", port: int = 0, context: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(accept, address, port, ssl=context, backlog=512)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()


@asynccontextmanager
async def serving(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncGenerator[Site]:
    site = Site(answer)
    async with accepting(site.serve, context=context) as site.port:
        yield site


def raw(*parts: bytes) -> Answer:
    """Answer every request with these bytes."""

    async def answer(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(parts))

    return answer


def raw_then_close(*parts: bytes) -> Answer:
    """Answer with these bytes and disconnect."""

    async def answer(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(parts))
        writer.close()

    return answer


def ok(body: bytes, *headers: bytes) -> bytes:
    """A complete answer 200."""
    return response(200, body, *headers)


def response(status: int, body: bytes = b"", *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 %d Status" % status, b"Content-Length: %d" % len(body), *headers, b"", body)
    return b"\r\n".join(lines)


class CountingNetwork(httpcore2.AsyncNetworkBackend):
    """The real network, which records the addresses it connects to."""

    def __init__(self) -> None:
        self.dials: list[tuple[str, int]] = []
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.dials.append((host, port))
        return await self._network.connect_tcp(
            *self.route(host, port), timeout, local_address, socket_options
        )

    def route(self, host: str, port: int) -> tuple[str, int]:
        return host, port


class Detour(CountingNetwork):
    """A network on which every address except the `dead` ones leads to the test's own site."""

    def __init__(self, site: Site, dead: Sequence[str] = ()) -> None:
        super().__init__()
        self._site = site
        self._dead = dead

    def route(self, host: str, _port: int) -> tuple[str, int]:
        if host in self._dead:
            raise httpcore2.ConnectError(f"{host} is dead")
        return "127.0.0.1", self._site.port


class Names:
    """A resolver with the test's answers, one per look-up; the last one is repeated."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self._answers = answers
        self.asked: list[str] = []

    async def __call__(self, host: str, _port: int) -> Sequence[str]:
        answer = self._answers[min(len(self.asked), len(self._answers) - 1)]
        self.asked.append(host)
        if isinstance(answer, Exception):
            raise answer
        return answer


def trusting(**limits: Any) -> ThumbnailPolicy:
    """A policy that trusts this machine, as an operator's tests would."""
    return ThumbnailPolicy(trusted_networks=LOOPBACK, **limits)


async def outcome(fetcher: ThumbnailFetcher, url: str) -> str:
    """`fetched`, or the reason and the text of the error."""
    try:
        await fetcher.fetch(url)
    except ImageError as exc:
        return f"{exc.reason}: {exc}"
    return "fetched"


async def outcomes(answers: Mapping[str, Answer], **limits: Any) -> dict[str, str]:
    """The outcome of a picture for each answer, each from a different site."""
    async with AsyncExitStack() as stack:
        fetcher = await stack.enter_async_context(ThumbnailFetcher(trusting(**limits)))
        sites = {name: await stack.enter_async_context(serving(answer)) for name, answer in answers.items()}
        return {name: await outcome(fetcher, site.url()) for name, site in sites.items()}
