"""Tower vectors that replicas share, in a Valkey or Redis server; nobody waits for it long.

A look-up has a few hundredths of a second, then the vector is computed as without a server. After a few in
vain the server is asked no more until it answers as quickly as that again, which is tried beside the
requests. Writes are not waited for at all. Look-ups that come together travel as one.

What comes back is believed only if it is whole and was stored under this key. That guards against accidents:
who may write to the server can change scores.
"""

import asyncio
import hashlib
import struct
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self, cast

import numpy as np
import structlog
from numpy.typing import NDArray

if TYPE_CHECKING:
    from redis.asyncio import Redis

Vector = NDArray[np.float32]

SERVER_S = 1.0  # for what no request waits for
FAILURES_ALLOWED = 5
OUTWEIGHED_BY = 20  # one in vain among so many is borne: of a server that only stumbles now and then
PAUSE_S = 2.0
TOGETHER = 64  # look-ups, or writes, in one exchange
LONGEST_BACKLOG = 1024  # writes that wait; 8 MB of pictures
KEPT_S = 7 * 24 * 3600  # so that vectors of models that nobody serves go, whatever the server's own limit
PREFIX = b"miles:1:"
HEAD = struct.Struct("<4sI16s")  # mark, numbers, digest
MARK = b"MVEC"
log = structlog.get_logger()


class SharedCache:
    """Vectors by key in a server that others write to as well. For one event loop.

    `lookups` counts outcomes: `hit`, `miss`, `late` (no answer in time), `failed`, `corrupt` and `skipped`
    (the server is given a rest); `writes` counts `stored`, `failed` and `dropped`.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        """`timeout_s` is what a look-up has."""
        self.is_up = False
        self.lookups: Counter[str] = Counter(dict.fromkeys(LOOKUPS, 0))
        self.writes: Counter[str] = Counter(dict.fromkeys(WRITES, 0))
        self._timeout_s = timeout_s
        self._server = _client(url)
        self._failures = 0.0
        self._wanted: deque[tuple[bytes, asyncio.Future[bytes | None]]] = deque()
        self._to_write: deque[tuple[bytes, bytes]] = deque()
        self._has_wanted, self._has_to_write = asyncio.Event(), asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, timeout_s: float) -> AsyncIterator[Self]:
        """A cache that looks for its server; nobody waits until it is found."""
        cache = cls(url, timeout_s)
        tasks = [asyncio.create_task(work()) for work in (cache._watch, cache._read, cache._write)]
        try:
            yield cache
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            cache._answer([future for _, future in cache._wanted], None)
            await cache._close()

    async def get(self, key: bytes) -> Vector | None:
        """The vector under `key` if the server has it and says so in time; raises nothing."""
        if not self.is_up:
            self.lookups["skipped"] += 1
            return None
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._wanted.append((key, answer))
        self._has_wanted.set()
        try:
            async with asyncio.timeout(self._timeout_s):
                value = await answer
        except TimeoutError:
            self.lookups["late"] += 1
            self._note_failure()
            return None
        except OSError:
            self.lookups["failed"] += 1
            self._note_failure()
            return None
        vector = None if value is None else unpacked(key, value)
        self.lookups["hit" if vector is not None else "miss" if value is None else "corrupt"] += 1
        return vector

    def put(self, key: bytes, vector: Vector) -> None:
        """Store it when there is time; what there is no room or no server for is let go."""
        if not self.is_up or len(self._to_write) >= LONGEST_BACKLOG:
            self.writes["dropped"] += 1
            return
        self._to_write.append((key, packed(key, vector)))
        self._has_to_write.set()

    async def _watch(self) -> None:
        """While the server is given a rest, ask now and then whether it is back."""
        while True:
            if not self.is_up and await self._answers():
                self.is_up, self._failures = True, 0.0
                log.info("shared_cache_up")
            await asyncio.sleep(PAUSE_S)

    async def _answers(self) -> bool:
        """Whether it would answer a look-up in time, once there is a connection."""
        try:
            for seconds in (SERVER_S, self._timeout_s):
                async with asyncio.timeout(seconds):
                    await self._server.ping()
        except _errors():
            return False
        return True

    async def _read(self) -> None:
        while True:
            await self._has_wanted.wait()
            batch = [self._wanted.popleft() for _ in range(min(TOGETHER, len(self._wanted)))]
            if not self._wanted:
                self._has_wanted.clear()
            waiting = [(key, answer) for key, answer in batch if not answer.done()]
            if waiting:
                await self._look_up(waiting)

    async def _look_up(self, waiting: "list[tuple[bytes, asyncio.Future[bytes | None]]]") -> None:
        answers = [answer for _, answer in waiting]
        try:
            async with asyncio.timeout(self._timeout_s):
                values = await self._server.mget([PREFIX + key for key, _ in waiting])
        except _errors():
            self._answer(answers, ConnectionError("the shared cache did not answer"))
            return
        self._failures = max(0.0, self._failures - len(waiting) / OUTWEIGHED_BY)
        for answer, value in zip(answers, values, strict=True):
            if not answer.done():  # its request did not wait
                answer.set_result(cast(bytes | None, value))

    async def _write(self) -> None:
        while True:
            await self._has_to_write.wait()
            batch = [self._to_write.popleft() for _ in range(min(TOGETHER, len(self._to_write)))]
            if not self._to_write:
                self._has_to_write.clear()
            try:
                async with asyncio.timeout(SERVER_S), self._server.pipeline(transaction=False) as pipeline:
                    for key, value in batch:
                        pipeline.set(PREFIX + key, value, ex=KEPT_S)
                    await pipeline.execute()
            except _errors():  # no reason to ask no more: nobody waits, and a full server still answers
                self.writes["failed"] += len(batch)
            else:
                self.writes["stored"] += len(batch)

    def _note_failure(self) -> None:
        self._failures += 1
        if self.is_up and self._failures >= FAILURES_ALLOWED:
            self.is_up = False
            log.warning("shared_cache_down", next_try_s=PAUSE_S)

    @staticmethod
    def _answer(answers: "list[asyncio.Future[bytes | None]]", error: OSError | None) -> None:
        for answer in answers:
            if not answer.done():
                answer.set_exception(error) if error else answer.set_result(None)

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(SERVER_S):
                await self._server.aclose()
        except _errors():
            return  # it is gone already


LOOKUPS = ("hit", "miss", "late", "failed", "corrupt", "skipped")
WRITES = ("stored", "failed", "dropped")


def packed(key: bytes, vector: Vector) -> bytes:
    """A vector as the server keeps it: how many numbers, a digest of key and numbers, the numbers."""
    numbers = vector.astype("<f4", copy=False).tobytes()
    return HEAD.pack(MARK, len(vector), _digest(key, numbers)) + numbers


def unpacked(key: bytes, value: bytes) -> Vector | None:
    """The vector that `packed` made for this key; None for anything else."""
    if len(value) < HEAD.size:
        return None
    mark, count, digest = HEAD.unpack_from(value)
    numbers = value[HEAD.size :]
    if mark != MARK or len(numbers) != 4 * count or digest != _digest(key, numbers):
        return None
    return np.frombuffer(numbers, "<f4").astype(np.float32)


def _digest(key: bytes, numbers: bytes) -> bytes:
    return hashlib.blake2b(numbers, key=key[:64], digest_size=16).digest()


def _client(url: str) -> "Redis":
    # Imported where a server is named: nobody else needs the package.
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Redis.from_url(
        url,
        protocol=2,  # what every version speaks
        retry=Retry(NoBackoff(), 0),
        socket_timeout=SERVER_S,
        socket_connect_timeout=SERVER_S,
    )


def _errors() -> tuple[type[BaseException], ...]:
    """Whatever a server that is slow, down, full or none at all can raise; TimeoutError is an OSError."""
    from redis.exceptions import RedisError

    return (RedisError, OSError)
