"""Every point at which a server can stop answering, against the fetcher as it runs in production."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trustme

from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from tests.hostile.conftest import Record
from tests.hostile.name_server import Rule, always, naming
from tests.hostile.namespace import NAME_SERVER, in_namespace
from tests.hostile.sites import Talk, answering, hear_out, listening, whole
from tests.hostile.test_dns import outcome, silence

pytestmark = pytest.mark.hostile
PUBLIC = "9.9.9.9"
DEADLINE_S, LOOK_UP_S, DIAL_S, TOLERANCE_S = 6.0, 2.0, 2.0, 0.3
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n"


def saying(first: bytes, *drops: bytes, pause_s: float = 0.2) -> Talk:
    """Read a request, send `first`, then `drops` again and again; without any, fall silent."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first)
        hung_up = asyncio.create_task(hear_out(reader, writer))
        while drops and not hung_up.done():
            for drop in drops:
                writer.write(drop)
            await writer.drain()
            await asyncio.sleep(pause_s)
        await hung_up

    return talk


async def slow_chain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each redirect is fast enough on its own; together they are too slow."""
    await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(1.8)
    writer.write(whole(302, b"", b"Location: /again"))


def half_a_handshake(context: ssl.SSLContext, size: int) -> Talk:
    """Answer the TLS ClientHello with the first bytes of a real flight, then fall silent."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(heard, said, server_side=True)
        heard.write(await reader.read(65536))
        try:
            server.do_handshake()
        except ssl.SSLWantReadError:
            writer.write(said.read()[:size])
        await hear_out(reader, writer)

    return talk


# Over HTTP: the part of an answer that the server sends, and how it continues.
PLAIN: dict[str, Talk] = {
    "accepts, then silence": hear_out,
    "half a status line": saying(b"HTTP/1."),
    "half a head": saying(HEAD),
    "head that never ends": saying(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
    "hints that never end": saying(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "head, then silence": saying(HEAD + b"\r\n"),
    "body stalls at 50 %": saying(HEAD + b"\r\n" + bytes(5000)),
    "body one byte short": saying(HEAD + b"\r\n" + bytes(9999)),
    "body drips": saying(HEAD + b"\r\n", b"a"),
    "body whose end is the hang-up": saying(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5000)),
    "chunk size, then silence": saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n"),
    "chunks drip": saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "last chunk missing": saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    "redirects that are slow together": slow_chain,
    "redirect without its end": saying(b"HTTP/1.1 302 Found\r\nLocation: /a\r\n"),
}


def unanswered(address: str, port: int) -> list[socket.socket]:
    """A port whose queue is full, so that the next SYN is dropped."""
    listener = socket.create_server((address, port), backlog=0)
    fill = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex((address, port))
        fill.append(client)
    return [listener, *fill]


@asynccontextmanager
async def stalling(certificate: ssl.SSLContext) -> AsyncGenerator[dict[str, tuple[str, float]]]:
    """Every stall point on an address of its own: URL and deadline by name."""
    points: dict[str, tuple[str, float]] = {}
    free = (f"{PUBLIC.rpartition('.')[0]}.{number}" for number in count(100))
    rules: dict[str, Rule] = {"silent.example": silence}
    async with AsyncExitStack() as stack:
        for name, talk in PLAIN.items():
            address = next(free)
            await stack.enter_async_context(listening(address, 80, talk))
            points[name] = (f"http://{address}/a.jpg", DEADLINE_S)
        for name, host, talk, context in (
            ("TLS: hello unanswered", "hello.stall.example", hear_out, None),
            ("TLS: half a flight", "half.stall.example", half_a_handshake(certificate, 300), None),
            ("TLS: flight unfinished", "unfinished.stall.example", half_a_handshake(certificate, -1), None),
            ("TLS, then silence", "silence.stall.example", hear_out, certificate),
        ):
            address = next(free)
            await stack.enter_async_context(listening(address, 443, talk, context))
            rules[host] = always(address)
            points[name] = (f"https://{host}/a.jpg", DEADLINE_S)
        first, second, to_silence = next(free), next(free), next(free)
        for each in (first, second):
            for part in unanswered(each, 80):
                stack.callback(part.close)
        rules["unanswered.example"] = always(first, second)
        points["dial unanswered"] = (f"http://{first}/a.jpg", DIAL_S)
        points["both dials unanswered"] = ("http://unanswered.example/a.jpg", 2 * DIAL_S)
        points["look-up unanswered"] = ("http://silent.example/a.jpg", LOOK_UP_S)
        location = whole(302, b"", b"Location: http://silent.example/a.jpg")
        await stack.enter_async_context(listening(to_silence, 80, answering(lambda _: location)))
        points["look-up unanswered at a redirect"] = (f"http://{to_silence}/a.jpg", LOOK_UP_S)
        await stack.enter_async_context(naming(NAME_SERVER, rules))
        yield points


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def until(condition: Callable[[], bool], limit_s: float = 5.0) -> bool:
    end = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.05)
    return True


async def stall() -> dict[str, Any]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("*.stall.example").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    async with (
        stalling(server) as points,
        listening(PUBLIC, 80, answering(lambda _: whole(200, b"jpeg"))),
        ThumbnailFetcher(ssl_context=client) as fetcher,
    ):
        await outcome(fetcher, f"http://{PUBLIC}/a.jpg")  # what the first fetch keeps open is open now
        before, tasks = descriptors(), len(asyncio.all_tasks())
        waiting = {name: asyncio.create_task(outcome(fetcher, url)) for name, (url, _) in points.items()}
        beside = []
        while any(not task.done() for task in waiting.values()):
            beside.append(await outcome(fetcher, f"http://{PUBLIC}/a.jpg"))
            await asyncio.sleep(0.05)
        ends = {name: [*await task, points[name][1]] for name, task in waiting.items()}
        clean = await until(lambda: descriptors() <= before and len(asyncio.all_tasks()) <= tasks)
        left = [descriptors() - before, len(asyncio.all_tasks()) - tasks]
    return {"ends": ends, "beside": beside, "clean": clean, "left": left}


def test_stall_points(promise: Record) -> None:
    """Wherever a server stops, its own fetch ends at the deadline, others are unaffected, nothing is left."""
    seen = in_namespace(stall)
    off = {name: seconds - deadline for name, (_, seconds, deadline) in seen["ends"].items()}
    wrong = {
        name: end
        for name, end in seen["ends"].items()
        if end[0] != "unreachable" or abs(off[name]) > TOLERANCE_S
    }
    beside = max(seconds for _, seconds in seen["beside"])
    promise(
        "stalls",
        figure=f"{len(off)} points, {min(off.values()):+.2f} to {max(off.values()):+.2f} s off the deadline; "
        f"{len(seen['beside'])} sound fetches meanwhile, {beside:.2f} s at most; "
        f"sockets and tasks left: {seen['left']}" + (f"; not {wrong}" if wrong else ""),
        kept=not wrong
        and len(off) >= 12
        and all(reason == "fetched" for reason, _ in seen["beside"])
        and seen["clean"],
    )
