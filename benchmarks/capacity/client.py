"""Loads a service on loopback from one event loop, with a fraction of a millisecond of its own a request.

wrk waits for an answer before it asks again; a stream of arrivals does not. A request's time counts from the
moment at which it was due, so that a client that is late hides nothing.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LONGEST_S = 30.0
READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, and seconds from when the request was due; status 0 is no answer at all."""

    status: int
    seconds: float


class Client:
    """Posts to one path of one server; connections are kept and used again."""

    def __init__(self, port: int, path: str = "/predict") -> None:
        self._port = port
        self._head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: bytes) -> int:
        """The status of the answer; 0 if there is none within half a minute."""
        try:
            async with asyncio.timeout(LONGEST_S):
                return await self._ask(*await self._connection(), body)
        except (OSError, TimeoutError, EOFError, ValueError):
            return 0

    def close(self) -> None:
        """Close what is kept."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A kept connection that the server has not closed meanwhile, or a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port, limit=READ_BYTES)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> int:
        try:
            writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = head.partition("content-length:")[2].partition("\r\n")[0]
            await reader.readexactly(int(length))  # every answer of ours says its length
            status = int(head.split(" ", 2)[1])
        except BaseException:
            writer.close()  # what would be read from it next belongs to this request
            raise
        self._idle.append((reader, writer))
        return status


async def open_loop(port: int, due_s: Sequence[float], bodies: Sequence[bytes]) -> list[Answer]:
    """Post each body at its moment, whatever became of those before it."""
    client, began = Client(port), time.perf_counter()

    async def ask(due: float, body: bytes) -> Answer:
        status = await client.post(body)
        return Answer(status, time.perf_counter() - began - due)

    tasks = []
    for due, body in zip(due_s, bodies, strict=True):
        await asyncio.sleep(max(0.0, due - (time.perf_counter() - began)))
        tasks.append(asyncio.create_task(ask(due, body)))
    answers = await asyncio.gather(*tasks)
    client.close()
    return list(answers)


async def closed_loop(port: int, bodies: Iterable[bytes], clients: int, seconds: float) -> list[int]:
    """The statuses that so many clients get, each asking again when it has its answer, for so long."""
    client = Client(port)
    supply, ends, statuses = iter(bodies), time.perf_counter() + seconds, list[int]()

    async def ask() -> None:
        while time.perf_counter() < ends and (body := next(supply, None)) is not None:
            statuses.append(await client.post(body))

    await asyncio.gather(*(ask() for _ in range(clients)))
    client.close()
    return statuses
