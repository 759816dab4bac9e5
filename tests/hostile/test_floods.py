"""Bodies that never end, cut at the cap, and the largest number that can arrive at once."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy
from tests.hostile.conftest import Record
from tests.hostile.judging import JPEG, PUBLIC, account, judged, wrong
from tests.hostile.namespace import in_namespace
from tests.hostile.sites import hear_out, listening

pytestmark = pytest.mark.hostile
CAP = 8 * 1024 * 1024
CHUNKED = b"Transfer-Encoding: chunked"
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "until close": (b"HTTP/1.1 200 OK\r\n\r\n", bytes(65536)),
    "chunks": (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\n", b"10000\r\n" + bytes(65536) + b"\r\n"),
    "one chunk without end": (b"HTTP/1.1 200 OK\r\n" + CHUNKED + b"\r\n\r\nffffffffff\r\n", bytes(65536)),
    "behind a picture": (b"HTTP/1.1 200 OK\r\n\r\n" + JPEG, b"\xff" * 65536),
}


def peak_bytes(*, anew: bool = False) -> int:
    """The peak resident memory of this process; `anew` first resets the peak to the present."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


async def flood() -> dict[str, Any]:
    """Bodies that never end: what the server sent before it was disconnected, and what that cost here."""
    ends: dict[str, list[Any]] = {}
    sent = dict.fromkeys(FLOODS, 0)

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        name = list(FLOODS)[int(path.strip(b"/"))]
        head, again = FLOODS[name]
        writer.write(head)
        while True:
            writer.write(again)
            await writer.drain()
            sent[name] += len(again)

    async with listening(PUBLIC, 80, pour) as server, ThumbnailFetcher() as fetcher:
        before = peak_bytes(anew=True)
        for number, name in enumerate(FLOODS):
            reason = await judged(fetcher, f"http://{PUBLIC}/{number}")
            for _ in range(100):
                if server.left > number:
                    break
                await asyncio.sleep(0.02)
            ends[name] = [reason, server.left > number]
        rise = peak_bytes() - before
    return {"ends": ends, "sent": max(sent.values()), "rise": rise}


def test_endless_bodies(promise: Record) -> None:
    seen = in_namespace(flood)
    missed = wrong(seen["ends"], {name: ["too_large", True] for name in FLOODS})
    promise(
        "bodies, bombs",
        wanted="endless body cut at the cap",
        figure=f"{account(seen['ends'], missed)}; cap {CAP:,} bytes, "
        f"servers sent {seen['sent']:,} at most (the kernel's buffers included), "
        f"RSS rose by {seen['rise'] / 1e6:.0f} MB",
        kept=not missed and seen["sent"] < 3 * CAP and seen["rise"] < 10 * CAP,
    )


async def hold() -> dict[str, Any]:
    """One host for each allowed connection; each stops one byte below the cap."""
    addresses = [f"9.9.9.{100 + number}" for number in range(ThumbnailPolicy().max_connections)]

    async def stop_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % CAP)
        for _ in range(CAP // 65536 - 1):
            writer.write(bytes(65536))
            await writer.drain()
        writer.write(bytes(65535))
        await hear_out(reader, writer)

    async with AsyncExitStack() as stack:
        sites = [await stack.enter_async_context(listening(each, 80, stop_late)) for each in addresses]
        fetcher = await stack.enter_async_context(ThumbnailFetcher())
        before = peak_bytes(anew=True)
        reasons = await asyncio.gather(*(judged(fetcher, f"http://{each}/a.jpg") for each in addresses))
        rise = peak_bytes() - before
        return {"asked": sum(site.connections for site in sites), "reasons": reasons, "rise": rise}


def test_bodies_that_are_held(promise: Record) -> None:
    seen = in_namespace(hold)
    promise(
        "bodies, bombs",
        wanted="64 bodies at once that stop below the cap, RSS rise under 300 MB",
        figure=f"{seen['asked']} bodies: {seen['reasons'].count('unreachable')} unreachable, "
        f"RSS rose by {seen['rise'] / 1e6:.0f} MB",
        kept=seen["asked"] == 64 and set(seen["reasons"]) == {"unreachable"} and seen["rise"] < 300e6,
    )
