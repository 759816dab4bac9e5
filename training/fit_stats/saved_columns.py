"""Reads the scalar columns of a `torch.save` file, without torch and without running any of its code.

Tensors are read as `Inert` records, whose arguments have their shapes.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from features.registry import MILES_V0
from model.checkpoint.file import HEAD_BYTES, CheckpointError, check_format
from model.checkpoint.inert import Inert, Unpickler
from model.checkpoint.metadata import is_safetensors
from model.checkpoint.names import STATE_KEYS, LayoutError, own_name
from training.data.cells import listed

MAX_PICKLE_BYTES = 64 * 2**20  # the names and shapes of a large network are 100 kB
LEGACY_PREAMBLE = 3  # magic number, version and machine, each a pickle of its own
FUSIONS = ("fusion.0.weight", "mlp.0.weight")
WORDS = "text_encoder.bert.embeddings.word_embeddings.weight"
SHAPE = 2  # of a tensor's rebuilding arguments: storage, offset, shape, strides, ...


@dataclass(frozen=True, slots=True)
class SavedColumns:
    """The scalar columns in order. `are_listed` is False if they follow from the file's layout."""

    names: tuple[str, ...]
    are_listed: bool


class _Names(Unpickler):
    def persistent_load(self, _: Any) -> Any:
        return None  # a tensor's numbers, which are not needed


def read_saved_columns(path: Path) -> SavedColumns:
    """The file's `scalar_features`, or the first list for the first layout. Raises `CheckpointError`."""
    contents = _contents(path)
    if not isinstance(contents, dict):
        raise CheckpointError(f"{path}: is not a dict, expected a checkpoint with model_state_dict")
    if contents.get("feature_stats") and contents.get("velocity"):
        raise CheckpointError(
            f"{path}: has its own feature_stats and velocity, which take precedence over a sidecar. There is "
            "nothing to fit; serve it as it is."
        )
    names = contents.get("scalar_features")
    if names:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise CheckpointError(f"{path}: scalar_features is not a list of names; save it as one")
        return SavedColumns(tuple(names), are_listed=True)
    return _by_layout(path, contents)


def _by_layout(path: Path, contents: dict[Any, Any]) -> SavedColumns:
    """The first layout is known by its shapes: text without images, and eighteen columns."""
    weights = next((contents[key] for key in STATE_KEYS if isinstance(contents.get(key), dict)), contents)
    try:
        shapes = {own_name(str(name)): _shape(value) for name, value in weights.items()}
    except LayoutError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    fusion = next((shapes[name] for name in FUSIONS if name in shapes), None)
    words = shapes.get(WORDS)
    has_images = any(name and name.startswith("vision_encoder.") for name in shapes)
    if fusion and words and not has_images and fusion[1] - words[1] == len(MILES_V0):
        return SavedColumns(MILES_V0, are_listed=False)
    raise CheckpointError(
        f"{path}: has no scalar_features, and is not of the first text-only layout, whose columns are known "
        f"(fusion.0.weight is {fusion}, expected {len(MILES_V0)} columns more than the text's "
        f"{words[1] if words else 'unknown'}, and no vision_encoder.*). It has {listed(_keys(contents))}. "
        "Add scalar_features, the column names in order, to the file."
    )


def _keys(contents: dict[Any, Any]) -> list[str]:
    names = [str(key) for key in contents]
    return names if len(names) <= 8 else [*names[:8], f"{len(names) - 8} more"]


def _shape(value: Any) -> tuple[int, int] | None:
    """The shape of a rebuilt matrix, None for anything else; a parameter wraps its tensor."""
    if isinstance(value, tuple):  # of a safetensors file
        return value if len(value) == 2 else None
    while isinstance(value, Inert) and value.arguments:
        arguments = value.arguments
        if isinstance(arguments[0], Inert):
            value = arguments[0]
            continue
        shape = arguments[SHAPE] if len(arguments) > SHAPE else None
        is_matrix = isinstance(shape, tuple) and len(shape) == 2 and all(type(n) is int for n in shape)
        return shape if is_matrix else None
    return None


def _contents(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            check_format(path, file.read(HEAD_BYTES))
            if is_safetensors(path):
                return _of_safetensors(file)
            return _of_zip(file) if zipfile.is_zipfile(file) else _of_legacy(file)
    except CheckpointError:
        raise
    except OSError as exc:
        raise CheckpointError(f"{path}: cannot be read ({exc.strerror or exc})") from exc
    except Exception as exc:
        # A damaged pickle can raise any exception; in every case the file is at fault.
        raise CheckpointError(
            f"{path}: is truncated or not a torch.save file ({type(exc).__name__}). Copy it again."
        ) from exc


def _of_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        entry = next(info for info in archive.infolist() if info.filename.endswith("data.pkl"))
        if entry.file_size > MAX_PICKLE_BYTES:
            raise ValueError(entry.file_size)
        with archive.open(entry) as pickled:
            return _Names(pickled).load()


def _of_safetensors(file: BinaryIO) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor, from the JSON object that the file begins with."""
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    if size > MAX_PICKLE_BYTES:
        raise ValueError(size)
    tensors = json.loads(file.read(size))
    return {name: tuple(each["shape"]) for name, each in tensors.items() if name != "__metadata__"}


def _of_legacy(file: BinaryIO) -> Any:
    """torch's format before zip files: four pickles in a row."""
    file.seek(0)
    for _ in range(LEGACY_PREAMBLE):
        _Names(file).load()
    return _Names(file).load()
