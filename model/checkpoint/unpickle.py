"""From a path to what `torch.save` wrote there, without running any of it. Knows no network."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.checkpoint.file import CheckpointError

ZIP_MAGIC = b"PK\x03\x04"
# What NumPy's own scalars (a metric saved as numpy.float64) need to be read; none of them runs code.
_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    _SCALAR,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]


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
