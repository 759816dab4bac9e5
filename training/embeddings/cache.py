"""The frozen encoders' vectors on disk, so that an interrupted run continues where it stopped.

A folder belongs to one encoder, named by the fingerprint of its weights; a key is the sha256 of the encoded
content. Every batch is a file of its own, which is renamed into place when it is complete.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

if TYPE_CHECKING:  # the command line is read before torch is imported
    from model.checkpoint.store import Checkpoint

KEY_BYTES = 32
SUFFIX = ".npz"
PREFIXES = {"text": "text_encoder.", "image": "vision_encoder."}
TERMINAL_INTERVAL_S, LOG_INTERVAL_S = 0.2, 15.0


class EmbeddingCache:
    """Vectors by key, all in memory, and on disk if there is a folder."""

    def __init__(self, folder: Path | None) -> None:
        """Read the files in `folder`; a damaged file is reported, and its vectors are computed again."""
        self._folder = folder
        self._vectors: dict[bytes, NDArray[np.generic]] = {}
        for path in sorted(folder.glob(f"*{SUFFIX}")) if folder and folder.is_dir() else []:
            self._read(path)

    def __len__(self) -> int:
        return len(self._vectors)

    def __contains__(self, key: bytes) -> bool:
        return key in self._vectors

    def __getitem__(self, key: bytes) -> NDArray[np.generic]:
        """The vector of `key`. Raises `KeyError`."""
        return self._vectors[key]

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.generic]) -> None:
        """Keep (N, D) `vectors` under N keys, and write them to disk at once."""
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
            print(f"{path}: is damaged ({exc}); its vectors are computed again", file=sys.stderr)
            return
        self._vectors.update((key.tobytes(), vector) for key, vector in zip(keys, vectors, strict=True))


def key_of(content: bytes) -> bytes:
    """The key of a content's vector."""
    return hashlib.sha256(content).digest()


def folder_of(checkpoint: "Checkpoint", tower: str, cache: Path | None) -> Path | None:
    """The folder within `cache` for the checkpoint's encoder, `text` or `image`."""
    if cache is None:
        return None
    from model.pretrained import fingerprint  # imports torch

    encoder = {
        name: tensor for name, tensor in checkpoint.state_dict.items() if name.startswith(PREFIXES[tower])
    }
    shape = checkpoint.card.config.text if tower == "text" else checkpoint.card.config.vision
    return cache / f"{tower}-{key_of(f'{fingerprint(encoder)} {shape}'.encode()).hex()[:24]}"


def progress_bar(total: int, unit: str, done: int) -> "tqdm[Any]":
    """A bar on stderr over `total`, of which `done` were cached; lines every 15 s without a terminal."""
    is_terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=unit,
        unit=f" {unit}",
        file=sys.stderr,
        mininterval=TERMINAL_INTERVAL_S if is_terminal else LOG_INTERVAL_S,
        dynamic_ncols=is_terminal,
    )
