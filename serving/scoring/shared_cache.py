"""Tower vectors that replicas share in a Valkey or Redis server, without ever depending on it.

A look-up has a few hundredths of a second, after which the vector is computed as if there were no server.
After repeated failures the server is not asked again until it answers within that time, which is checked in
the background. Writes are never waited for. Concurrent look-ups travel together.

A value counts only if it is a whole, finite vector of the tower, not one number repeated, and its digest is
right for its key. Without a secret, this guards only against accidents: anyone who can write to the server
can change scores. With a secret, the digest is a message authentication code.
"""

import asyncio
import hashlib
import hmac
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

if TYPE_CHECKING:
    from redis.asyncio import Redis

Vector = NDArray[np.float32]
Item = TypeVar("Item")

SERVER_TIMEOUT_S = 1.0  # for operations that no request waits for
MAX_FAILURES = 5
SUCCESSES_PER_FAILURE = 20  # make up for one failure, so that an occasional slow answer is tolerated
PROBE_INTERVAL_S = 2.0
MAX_PER_EXCHANGE = 64  # look-ups or writes
MAX_WRITE_BACKLOG = 1024  # 8 MB of image vectors
TTL_S = 7 * 24 * 3600  # removes the vectors of retired models, whatever the server's own limit
PREFIX = b"miles:1:"
HEAD = struct.Struct("<4sI16s")  # mark, count of numbers, digest
MARK = b"MVEC"
LOOKUPS = ("hit", "miss", "late", "failed", "corrupt", "skipped")
WRITES = ("stored", "failed", "dropped")
log = structlog.get_logger()


class SharedCache:
    """Vectors by key in a server that other replicas write to as well. For one event loop.

    `lookups` counts outcomes: `hit`, `miss`, `late` (no answer in time), `failed`, `corrupt` and `skipped`
    (while the server is down); `writes` counts `stored`, `failed` and `dropped`.
    """

    def __init__(self, url: str, timeout_s: float, secret: str = "") -> None:
        """`timeout_s` is the limit of a look-up; `secret` is what replicas authenticate values with."""
        self.is_up = False
        self.lookups: Counter[str] = Counter(dict.fromkeys(LOOKUPS, 0))
        self.writes: Counter[str] = Counter(dict.fromkeys(WRITES, 0))
        self._timeout_s, self._secret = timeout_s, secret.encode()
        self._server = _client(url)
        self._failures = 0.0
        self._to_read: asyncio.Queue[tuple[bytes, asyncio.Future[bytes | None]]] = asyncio.Queue()
        self._to_write: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue(MAX_WRITE_BACKLOG)

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, timeout_s: float, secret: str = "") -> AsyncIterator[Self]:
        """A cache that connects in the background."""
        cache = cls(url, timeout_s, secret)
        tasks = [asyncio.create_task(cache._keep(work)) for work in (cache._probe, cache._read, cache._write)]
        try:
            yield cache
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            while not cache._to_read.empty():
                _, answer = cache._to_read.get_nowait()
                if not answer.done():
                    answer.set_result(None)
            with suppress(*_errors()):
                async with asyncio.timeout(SERVER_TIMEOUT_S):
                    await cache._server.aclose()

    async def get(self, key: bytes, width: int) -> Vector | None:
        """The vector of `width` numbers under `key` if the server returns it in time. Raises nothing."""
        if not self.is_up:
            self.lookups["skipped"] += 1
            return None
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._to_read.put_nowait((key, answer))
        try:
            async with asyncio.timeout(self._timeout_s):
                value = await answer
        except OSError as exc:  # a TimeoutError is one
            self.lookups["late" if isinstance(exc, TimeoutError) else "failed"] += 1
            self._note_failure()
            return None
        vector = None if value is None else unpacked(key, value, width, self._secret)
        self.lookups["hit" if vector is not None else "miss" if value is None else "corrupt"] += 1
        return vector

    def put(self, key: bytes, vector: Vector) -> None:
        """Store the vector in the background; dropped if the server is down or the backlog is full."""
        if not self.is_up or self._to_write.full():
            self.writes["dropped"] += 1
        else:
            self._to_write.put_nowait((key, packed(key, vector, self._secret)))

    async def _keep(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` again if it fails, because without it every later look-up would time out."""
        while True:
            try:
                await work()
            except Exception:
                log.exception("shared_cache_task_failed", task=work.__name__)
                self.is_up = False
                await asyncio.sleep(PROBE_INTERVAL_S)

    async def _probe(self) -> None:
        """While the server is down, check regularly whether it is back."""
        while True:
            if not self.is_up and await self._responds():
                self.is_up, self._failures = True, 0.0
                log.info("shared_cache_up")
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _responds(self) -> bool:
        """Whether the server would answer a look-up in time, once connected."""
        try:
            for seconds in (SERVER_TIMEOUT_S, self._timeout_s):
                async with asyncio.timeout(seconds):
                    await self._server.ping()
        except Exception:
            return False
        return True

    async def _read(self) -> None:
        while True:
            batch = [(key, answer) for key, answer in await _batch(self._to_read) if not answer.done()]
            if not batch:  # no caller still waits
                continue
            error: OSError | None = None
            values: list[bytes | None] = [None] * len(batch)
            try:
                async with asyncio.timeout(self._timeout_s):
                    found = await self._server.mget([PREFIX + key for key, _ in batch])
                values = _checked(found, len(batch))
            except Exception as exc:  # the client may raise anything if a reply is not Redis's protocol
                error = ConnectionError(f"the shared cache did not respond: {exc!r}")
                if not isinstance(exc, _errors()):
                    log.warning("shared_cache_reply_invalid", error=type(exc).__name__)
                    await self._server.connection_pool.disconnect()  # or its rest is read as the next reply
            else:
                self._failures = max(0.0, self._failures - len(batch) / SUCCESSES_PER_FAILURE)
            for (_, answer), value in zip(batch, values, strict=True):
                if not answer.done():
                    answer.set_exception(error) if error else answer.set_result(value)

    async def _write(self) -> None:
        while True:
            batch = await _batch(self._to_write)
            try:
                async with (
                    asyncio.timeout(SERVER_TIMEOUT_S),
                    self._server.pipeline(transaction=False) as pipeline,
                ):
                    for key, value in batch:
                        pipeline.set(PREFIX + key, value, ex=TTL_S)
                    await pipeline.execute()
            except Exception:  # not a reason to stop asking: a full server still answers look-ups
                self.writes["failed"] += len(batch)
            else:
                self.writes["stored"] += len(batch)

    def _note_failure(self) -> None:
        self._failures += 1
        if self.is_up and self._failures >= MAX_FAILURES:
            self.is_up = False
            log.warning("shared_cache_down", next_try_s=PROBE_INTERVAL_S)


async def _batch(queue: "asyncio.Queue[Item]") -> list[Item]:
    """The next items, at least one; waits for the first."""
    items = [await queue.get()]
    while len(items) < MAX_PER_EXCHANGE and not queue.empty():
        items.append(queue.get_nowait())
    return items


def packed(key: bytes, vector: Vector, secret: bytes = b"") -> bytes:
    """A vector as the server stores it: its length, a digest of key and numbers, its numbers."""
    numbers = vector.astype("<f4", copy=False).tobytes()
    return HEAD.pack(MARK, len(vector), _digest(key, numbers, secret)) + numbers


def unpacked(key: bytes, value: bytes, width: int, secret: bytes = b"") -> Vector | None:
    """The vector of `width` finite numbers that `packed` made for this key; None for anything else."""
    if len(value) != HEAD.size + 4 * width:
        return None
    mark, count, digest = HEAD.unpack_from(value)
    numbers = value[HEAD.size :]
    if mark != MARK or count != width or not hmac.compare_digest(digest, _digest(key, numbers, secret)):
        return None
    vector = np.frombuffer(numbers, "<f4").astype(np.float32)
    return vector if np.isfinite(vector).all() and np.ptp(vector) > 0 else None


def _checked(found: object, count: int) -> list[bytes | None]:
    """The reply to a look-up of `count` keys. Raises `TypeError` for anything that is not one."""
    if not isinstance(found, list) or len(found) != count:
        raise TypeError(f"expected {count} values, got {type(found).__name__}")
    if not all(value is None or isinstance(value, bytes) for value in found):
        raise TypeError("expected bytes or nil")
    return found


def _digest(key: bytes, numbers: bytes, secret: bytes) -> bytes:
    own = hmac.digest(secret, key, "sha256") if secret else key[:64]
    return hashlib.blake2b(numbers, key=own, digest_size=16).digest()


def _client(url: str) -> "Redis":
    # Imported here: only a service with a shared cache needs the package.
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return Redis.from_url(
        url,
        protocol=2,  # supported by every version
        retry=Retry(NoBackoff(), 0),
        socket_timeout=SERVER_TIMEOUT_S,
        socket_connect_timeout=SERVER_TIMEOUT_S,
    )


def _errors() -> tuple[type[BaseException], ...]:
    """The errors of a server that is slow, down, full or of another kind; TimeoutError is an OSError."""
    from redis.exceptions import RedisError

    return (RedisError, OSError)
