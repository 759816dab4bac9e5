"""Which scalar columns a `torch.save` file was trained on, read without torch and without running the file.

A pickle names the functions that rebuild its objects. Here none of them is ever looked up: whatever a file
names is replaced by `_Inert`, so that reading it can do nothing but build dicts, lists, texts and numbers.
"""

import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from features.registry import MILES_V0
from training.fit_stats.columns import some

LARGEST_PICKLE = 64 * 2**20  # the names and shapes of a large network are 100 kB
LEGACY_PREAMBLE = 3  # magic number, version and machine, each a pickle of its own
FUSION = "fusion.0.weight"
WORDS = "text_encoder.bert.embeddings.word_embeddings.weight"
SHAPE = 2  # of a tensor's rebuilding arguments: storage, offset, shape, strides, ...


class SavedFileError(Exception):
    """A checkpoint that does not tell its columns: names the file, what it holds and what to do."""


@dataclass(frozen=True, slots=True)
class SavedColumns:
    """The scalar columns in order; `are_listed` is False where they follow from the layout alone."""

    names: tuple[str, ...]
    are_listed: bool


class _Inert:
    """Stands for any object of a file and does nothing, whatever the pickle asks of it."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    def append(self, _: Any) -> None:
        pass


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _Inert

    def persistent_load(self, _: Any) -> Any:
        return None  # a tensor's numbers, which are not needed


def read_saved_columns(path: Path) -> SavedColumns:
    """What `scalar_features` lists, or the first list where a file of that layout lists nothing.

    Raises `SavedFileError`.
    """
    contents = _contents(path)
    if not isinstance(contents, dict):
        raise SavedFileError(f"{path}: holds no dict, expected a checkpoint with model_state_dict")
    if contents.get("feature_stats") and contents.get("velocity"):
        raise SavedFileError(
            f"{path}: holds its own feature_stats and velocity, which win over any sidecar. There is nothing "
            "to fit; serve it as it is."
        )
    names = contents.get("scalar_features")
    if names:
        if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
            raise SavedFileError(f"{path}: scalar_features is no list of names; save it as one")
        return SavedColumns(tuple(names), are_listed=True)
    return _by_layout(path, contents)


def _by_layout(path: Path, contents: dict[Any, Any]) -> SavedColumns:
    """The first trained file, and nothing else, is told by its shapes: text, and eighteen columns."""
    weights = next(
        (contents[key] for key in ("model_state_dict", "state_dict") if isinstance(contents.get(key), dict)),
        contents,
    )
    shapes = {str(name).removeprefix("module."): _shape(value) for name, value in weights.items()}
    fusion, words = shapes.get(FUSION), shapes.get(WORDS)
    has_images = any(name.startswith("vision_encoder.") for name in shapes)
    if fusion and words and not has_images and fusion[1] - words[1] == len(MILES_V0):
        return SavedColumns(MILES_V0, are_listed=False)
    raise SavedFileError(
        f"{path}: has no scalar_features, and is not the first text-only layout, whose columns are known "
        f"(fusion.0.weight {fusion}, expected {len(MILES_V0)} columns more than the text's "
        f"{words[1] if words else 'unknown'} and no vision_encoder.*). It holds {some(_keys(contents))}. "
        "Add scalar_features, the column names in order, to the file."
    )


def _keys(contents: dict[Any, Any]) -> list[str]:
    names = [str(key) for key in contents]
    return names if len(names) <= 8 else [*names[:8], f"{len(names) - 8} more"]


def _shape(value: Any) -> tuple[int, int] | None:
    """The shape of a rebuilt matrix, None for anything else; a parameter wraps its tensor."""
    while isinstance(value, _Inert) and value.__dict__.get("arguments"):
        arguments = value.arguments
        if isinstance(arguments[0], _Inert):
            value = arguments[0]
            continue
        shape = arguments[SHAPE] if len(arguments) > SHAPE else None
        is_matrix = isinstance(shape, tuple) and len(shape) == 2 and all(type(n) is int for n in shape)
        return shape if is_matrix else None
    return None


def _contents(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _of_zip(file) if zipfile.is_zipfile(file) else _of_legacy(file)
    except OSError as exc:
        raise SavedFileError(f"{path}: cannot be read ({exc.strerror or exc}); name the checkpoint") from exc
    except Exception as exc:
        # A damaged pickle raises whatever its bytes spell; whatever that is, the file is at fault.
        raise SavedFileError(
            f"{path}: is truncated or not a torch.save file ({type(exc).__name__}). Copy it again."
        ) from exc


def _of_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        entry = next(info for info in archive.infolist() if info.filename.endswith("data.pkl"))
        if entry.file_size > LARGEST_PICKLE:
            raise ValueError(entry.file_size)
        with archive.open(entry) as pickled:
            return _InertUnpickler(pickled).load()


def _of_legacy(file: BinaryIO) -> Any:
    """What torch wrote before it wrote zips: four pickles in a row."""
    file.seek(0)
    for _ in range(LEGACY_PREAMBLE):
        _InertUnpickler(file).load()
    return _InertUnpickler(file).load()
