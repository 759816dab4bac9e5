"""Tower vectors by what they were computed from: a known video with new counts costs the fusion alone.

The towers are frozen, so their input and their fingerprint decide the vector; nothing here expires. The
cache knows neither towers nor pixels: a key is a digest, and how to compute is the caller's.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from preprocessing.single_flight import SingleFlight
from serving.scoring.shared_cache import SharedCache

Vector = NDArray[np.float32]

KEY_BYTES = 32
# The first of them name the model, so that its vectors can be given up with it.
OWNER_BYTES = 8
# What an entry costs beside its numbers: the key, the array's and the buffer's headers, its share of the
# table. Measured with tracemalloc; a test holds it to the truth.
ENTRY_BYTES = 320


class VectorCache:
    """Vectors by key, the least recently used given up first, at most `max_bytes` in all.

    Every call of `get` counts once: in `hits`, in `misses` (it was looked for elsewhere) or in `collapsed`
    (it waited for another's). For one event loop; `max_bytes` 0 keeps nothing and still runs identical work
    once. What is not remembered here is asked of `beyond`, if there is such a store, before it is computed.
    """

    # Own code: the standard library's OrderedDict is the whole LRU. A caching library would save six lines,
    # and bring neither the collapsing, nor the count of evictions, nor an `await` between look-up and store.

    def __init__(self, max_bytes: int, shared: SharedCache | None = None) -> None:
        assert max_bytes >= 0, "a cache holds no fewer than 0 bytes"
        self.max_bytes = max_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self._vectors: OrderedDict[bytes, Vector] = OrderedDict()
        self.shared = shared
        self._flights = SingleFlight[tuple[Vector, bool]]()

    @property
    def entries(self) -> int:
        """How many vectors are remembered."""
        return len(self._vectors)

    @property
    def collapsed(self) -> int:
        """How many calls waited for a computation that another had begun."""
        return self._flights.collapsed

    def recall(self, key: bytes) -> Vector | None:
        """The remembered vector, read-only; None, and nothing counted, where there is none."""
        vector = self._vectors.get(key)
        if vector is not None:
            self._vectors.move_to_end(key)
            self.hits += 1
        return vector

    def forget(self, fingerprint: str) -> None:
        """Give up every vector of the model with this fingerprint."""
        owner = _owner(fingerprint)
        for key in [key for key in self._vectors if key.startswith(owner)]:
            self.bytes -= entry_bytes(self._vectors.pop(key))

    async def get(self, key: bytes, compute: Callable[[], Awaitable[Vector]]) -> tuple[Vector, bool]:
        """The vector of `key`, read-only, and whether it was known; else `compute` is run for it.

        Raises what the computation raised, to every caller that waited for it; the next call tries anew.
        """
        vector = self.recall(key)
        if vector is not None:
            return vector, True
        return await self._flights.run(key, partial(self._find, key, compute))

    async def _find(self, key: bytes, compute: Callable[[], Awaitable[Vector]]) -> tuple[Vector, bool]:
        self.misses += 1
        known = await self.shared.get(key) if self.shared else None
        vector = _frozen(await compute() if known is None else known)
        self._remember(key, vector)
        if self.shared and known is None:
            self.shared.put(key, vector)
        return vector, known is not None

    def _remember(self, key: bytes, vector: Vector) -> None:
        size = entry_bytes(vector)
        if size > self.max_bytes:
            return  # it would push out everything else and still not fit
        self._vectors[key] = vector  # no entry is replaced: a remembered key is never computed
        self.bytes += size
        while self.bytes > self.max_bytes:
            _, oldest = self._vectors.popitem(last=False)
            self.bytes -= entry_bytes(oldest)
            self.evictions += 1


def entry_bytes(vector: Vector) -> int:
    """What remembering a vector costs, in bytes."""
    return vector.nbytes + ENTRY_BYTES


def vector_key(fingerprint: str, tower: str, *content: bytes) -> bytes:
    """The key of an input of a model's tower, `KEY_BYTES` long."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES - OWNER_BYTES)
    for part in (tower.encode(), *content):
        digest.update(len(part).to_bytes(8, "little"))  # so that no two lists of parts are hashed alike
        digest.update(part)
    return _owner(fingerprint) + digest.digest()


def _owner(fingerprint: str) -> bytes:
    """The first bytes of every key of a model."""
    return hashlib.blake2b(fingerprint.encode(), digest_size=OWNER_BYTES).digest()


def _frozen(vector: Vector) -> Vector:
    """A copy that cannot be made writable. A copy, because a row of a batch keeps the whole batch alive."""
    assert vector.ndim == 1, "a vector has one dimension"
    return np.frombuffer(vector.tobytes(), vector.dtype)
