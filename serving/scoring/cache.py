"""Tower vectors by what they were computed from, so that a known video with new counts runs only the fusion.

The towers are frozen: input and fingerprint determine the vector, and nothing expires. A key is a digest; how
to compute a vector is up to the caller.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.scoring.shared_cache import SharedCache

Vector = NDArray[np.float32]
Result = TypeVar("Result")

KEY_BYTES = 32
# The first bytes of a key name the model, so that its vectors can be dropped together.
OWNER_BYTES = 8
# Memory of an entry in addition to its numbers: the key, the array, its buffer's header, its share of the
# table. Measured with tracemalloc, and checked by a test.
ENTRY_BYTES = 320


@dataclass(slots=True)
class _Flight(Generic[Result]):
    task: "asyncio.Task[Result]"
    waiters: int = 0


class SingleFlight(Generic[Result]):
    """Runs identical work once: callers that ask while it runs get the same outcome. For one event loop.

    The work belongs to all its callers: it continues while any of them waits, and is cancelled with the last.
    `collapsed` counts the callers that joined work in flight. Nothing is kept afterwards.
    """

    def __init__(self) -> None:
        self._flights: dict[bytes, _Flight[Result]] = {}
        self.collapsed = 0

    def __len__(self) -> int:
        """The number of pieces of work in flight."""
        return len(self._flights)

    async def run(self, key: bytes, work: Callable[[], Awaitable[Result]]) -> Result:
        """The outcome of `work`, or of the work in flight under the same key. Raises what it raised."""
        flight = self._flights.get(key)
        if flight is None:
            flight = _Flight(asyncio.create_task(self._fly(key, work)))
            flight.task.add_done_callback(_hear)
            self._flights[key] = flight
        else:
            self.collapsed += 1
        flight.waiters += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiters -= 1
            if not flight.waiters and not flight.task.done():
                del self._flights[key]  # now: a new caller must not join work that is being cancelled
                flight.task.cancel()
                # The last caller waits for its end, so that nothing is closed while the work still uses it.
                await asyncio.wait([flight.task])

    async def _fly(self, key: bytes, work: Callable[[], Awaitable[Result]]) -> Result:
        task = asyncio.current_task()
        assert task is not None, "run as a task"
        try:
            return await work()
        except asyncio.CancelledError:
            if task.cancelling():
                raise
            # Something inside was cancelled; a bare CancelledError would look as if the waiters were.
            raise RuntimeError("the work was cancelled from within") from None
        finally:
            flight = self._flights.get(key)
            if flight is not None and flight.task is task:  # not if it was abandoned and started again
                del self._flights[key]


def _hear(task: "asyncio.Task[Result]") -> None:
    """Retrieve an error that arrived after the last caller left, which asyncio would log."""
    if not task.cancelled():
        task.exception()


class VectorCache:
    """A least-recently-used cache of at most `max_bytes`, backed by `shared` if there is one.

    Each `get` counts once: in `hits`, in `misses` (not in this process) or in `collapsed` (it waited for an
    identical computation). With `max_bytes` 0 nothing is kept, but identical work still runs once. For one
    event loop.
    """

    # Not a library: OrderedDict is all of the LRU, and caching libraries lack the collapsing, the count of
    # evictions, or an `await` between look-up and store.

    def __init__(self, max_bytes: int, shared: SharedCache | None = None) -> None:
        assert max_bytes >= 0, "max_bytes is not negative"
        self.max_bytes = max_bytes
        self.shared = shared
        self.bytes = self.hits = self.misses = self.evictions = 0
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()
        self._flights = SingleFlight[tuple[Vector, bool]]()

    @property
    def entries(self) -> int:
        """The number of vectors kept."""
        return len(self._vectors)

    @property
    def collapsed(self) -> int:
        """The number of calls that waited for an identical computation."""
        return self._flights.collapsed

    def recall(self, key: bytes) -> Vector | None:
        """The vector if this process has it, read-only and counted as a hit; else None, uncounted."""
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
            self.hits += 1
        return vector

    def forget(self, fingerprint: str) -> None:
        """Drop every vector of the model with this fingerprint."""
        owner = _owner(fingerprint)
        for key in [key for key in self._vectors if key.startswith(owner)]:
            self.bytes -= entry_bytes(self._vectors.pop(key))

    async def get(
        self, key: bytes, compute: Callable[[], Awaitable[Vector]], width: int = 0
    ) -> tuple[Vector, bool]:
        """The vector of `key`, read-only, and whether it was cached; otherwise `compute` runs.

        Another replica's vector must have `width` numbers.
        Raises what the computation raised, to every caller that waited for it; errors are not cached.
        """
        vector = self.recall(key)
        if vector is not None:
            return vector, True
        return await self._flights.run(key, partial(self._find, key, compute, width))

    async def _find(
        self, key: bytes, compute: Callable[[], Awaitable[Vector]], width: int
    ) -> tuple[Vector, bool]:
        self.misses += 1
        found = await self.shared.get(key, width) if self.shared else None
        vector = _frozen(await compute() if found is None else found)
        self._keep(key, vector)
        if self.shared and found is None:
            self.shared.put(key, vector)
        return vector, found is not None

    def _keep(self, key: bytes, vector: Vector) -> None:
        size = entry_bytes(vector)
        if size > self.max_bytes:
            return  # it would evict everything else and still not fit
        self._vectors[key] = vector  # never replaces one: a cached key is not computed
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, oldest = self._vectors.popitem(last=False)
            self.bytes -= entry_bytes(oldest)
            self.evictions += 1


def entry_bytes(vector: Vector) -> int:
    """The memory that a cached vector takes."""
    return vector.nbytes + ENTRY_BYTES


def vector_key(fingerprint: str, tower: str, *content: bytes) -> bytes:
    """The key of an input of a model's tower, `KEY_BYTES` long."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES - OWNER_BYTES)
    for part in (tower.encode(), *content):
        digest.update(len(part).to_bytes(8, "little"))  # so that no two lists of parts are hashed alike
        digest.update(part)
    return _owner(fingerprint) + digest.digest()


def _owner(fingerprint: str) -> bytes:
    return hashlib.blake2b(fingerprint.encode(), digest_size=OWNER_BYTES).digest()


def _frozen(vector: Vector) -> Vector:
    """A copy that cannot be made writable. A copy, because a row of a batch keeps the whole batch alive."""
    assert vector.ndim == 1, "a vector has one dimension"
    return np.frombuffer(vector.tobytes(), vector.dtype)
