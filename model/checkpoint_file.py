"""From a path to what `torch.save` wrote there, without running any of it. Knows no network."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

LFS_MAGIC = b"version https://git-lfs"
ZIP_MAGIC = b"PK\x03\x04"
# What NumPy's own scalars (a metric saved as numpy.float64) need to be read; none of them runs code.
_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    _SCALAR,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]


class CheckpointError(Exception):
    """A checkpoint that cannot be used: names the file, what is wrong with both values, the next step.

    Always one line, whatever names and values the file holds.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))


def check_file(path: Path, expected_sha256: str | None) -> str:
    """The file's sha256, once it is plain that it is a file that `torch.save` could have written.

    Raises `CheckpointError`.
    """
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a directory, expected a file; name the .pt file in it")
        if not path.exists():
            raise CheckpointError(f"{path}: no such file. Run `make model` for the demo, or bring your own.")
        if not path.is_file():
            raise CheckpointError(f"{path}: is a device or a pipe, expected a file; name the .pt file")
        with path.open("rb") as file:
            head = file.read(len(LFS_MAGIC))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise CheckpointError(f"{path}: cannot be read ({exc.strerror}); check its permissions") from exc
    if not head:
        raise CheckpointError(f"{path}: is empty (0 bytes). Download or train it again.")
    if head == LFS_MAGIC:
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the weights. Run `git lfs pull`.")
    if expected_sha256 and digest != expected_sha256.lower():
        raise CheckpointError(
            f"{path}: sha256 is {digest}, expected {expected_sha256}. Download it again, or correct "
            "MILES_CHECKPOINT_SHA256."
        )
    return digest


def unpickle(path: Path) -> Any:
    """What `torch.save` wrote to `path`: tensors, containers and plain values. Raises `CheckpointError`."""
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except Exception as exc:
        # The unpickler meets whatever a damaged file spells: RuntimeError, EOFError, KeyError, TypeError,
        # MemoryError and more. Whatever it raises, the file is at fault.
        if isinstance(exc, pickle.UnpicklingError) and "global" in str(exc).lower():
            raise CheckpointError(
                f"{path}: holds objects whose loading would run code, which is never allowed. Save only "
                "tensors and plain values, then try again."
            ) from exc
        raise CheckpointError(
            f"{path}: is truncated or not a torch.save file ({path.stat().st_size} bytes, "
            f"{type(exc).__name__}). Copy it again."
        ) from exc


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
