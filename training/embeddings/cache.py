"""What the encoders have computed, on disk: whoever is killed half-way and starts again goes on from there.

The encoders are frozen, so a vector never changes: a folder is one encoder's, by the fingerprint of its
weights, and a key is the sha256 of what was encoded. Every batch is a file of its own that is moved into
place when it is whole.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 32
SUFFIX = ".npz"


class VectorStore:
    """Vectors by key, all of them in memory; without a folder they are kept nowhere else."""

    def __init__(self, folder: Path | None) -> None:
        """Read what lies in `folder`; a damaged file is told and computed again."""
        self._folder = folder
        self._vectors: dict[bytes, NDArray[np.generic]] = {}
        for path in sorted(folder.glob(f"*{SUFFIX}")) if folder and folder.is_dir() else []:
            self._read(path)

    def __len__(self) -> int:
        return len(self._vectors)

    def __contains__(self, key: bytes) -> bool:
        return key in self._vectors

    def __getitem__(self, key: bytes) -> NDArray[np.generic]:
        """The vector of `key`; `KeyError` for one that was never added."""
        return self._vectors[key]

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.generic]) -> None:
        """Keep (N, D) `vectors` under N keys, and write them down at once."""
        assert len(keys) == len(vectors), "every vector has a key"
        self._vectors.update(zip(keys, vectors, strict=True))
        if self._folder is None or not keys:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        joined = b"".join(keys)
        path = self._folder / f"{hashlib.sha256(joined).hexdigest()[:24]}{SUFFIX}"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, keys=np.frombuffer(joined, dtype=np.uint8).reshape(-1, KEY_BYTES), vectors=vectors)
        partial.replace(path)

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as shard:
                keys, vectors = shard["keys"], shard["vectors"]
            if keys.shape != (len(vectors), KEY_BYTES):
                raise ValueError(f"{keys.shape} keys for {len(vectors)} vectors")
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as exc:
            print(f"{path}: is damaged ({exc}); what it held is computed again", file=sys.stderr)
            return
        self._vectors.update((key.tobytes(), vector) for key, vector in zip(keys, vectors, strict=True))


def key_of(content: bytes) -> bytes:
    """What a vector is kept under."""
    return hashlib.sha256(content).digest()
