"""Hundreds of clients on one event loop, light enough to leave the machine to the service.

Plain HTTP/1.1 over streams: a client library's own work would count as the service's.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

from tests.support.service import Service

NUMBER = count()


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `seconds` from the first byte sent to the last one read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


@dataclass(slots=True)
class Visitor:
    """One client with one connection, which it reopens when it was closed."""

    service: Service
    streams: "tuple[asyncio.StreamReader, asyncio.StreamWriter] | None" = field(default=None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    async def get(self, path: str) -> Answer:
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: miles\r\n\r\n".encode())

    async def score(self, **fields: Any) -> Answer:
        """The score of a video that was never seen before."""
        return await self.ask(request(fields))

    async def ask(self, message: bytes) -> Answer:
        """The answer to a whole request. Raises `OSError` or `IncompleteReadError` when there is none."""
        started = time.perf_counter()
        await self.send(message)
        assert self.streams is not None, "sent before it is read"
        head = (await self.streams[0].readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        body = await self.streams[0].readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.leave()
        return Answer(int(head[0].split()[1]), headers, body, time.perf_counter() - started)

    async def send(self, message: bytes) -> None:
        if self.streams is None:
            port = int(self.service.url.rsplit(":", 1)[1])
            self.streams = await asyncio.open_connection("127.0.0.1", port)
        self.streams[1].write(message)
        await self.streams[1].drain()

    def leave(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def request(fields: Mapping[str, Any]) -> bytes:
    """A POST to /predict of a video whose title was never sent before."""
    number = next(NUMBER)
    video = {"title": f"Number {number} of {number % 97} videos", "view_count": number % 100_000, **fields}
    body = json.dumps(video).encode()
    head = "POST /predict HTTP/1.1\r\nHost: miles\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


async def metrics(service: Service) -> dict[str, float]:
    async with Visitor(service) as visitor:
        text = (await visitor.get("/metrics")).body.decode()
    return {name: float(value) for name, value in re.findall(r"^([a-z]\S*) (\S+)$", text, re.MULTILINE)}


def resident_bytes(service: Service) -> int:
    """The resident memory of the service's process, without its decoders."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return 1024 * int(re.findall(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)[0])


def held(service: Service) -> tuple[int, int]:
    """How many descriptors and threads the service has."""
    process = Path(f"/proc/{service.process.pid}")
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the values do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]
