"""The scalar columns of a checkpoint, read without torch and without running any of its code."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from features.registry import MILES_V0
from model.checkpoint.file import CheckpointError
from model.checkpoint.fitted import weekday_codes
from model.checkpoint.metadata import own_and_fitted, own_values, read_outline
from model.checkpoint.names import FUSIONS, LayoutError, find_weights, other_keys, own_name
from training.data.cells import listed
from training.fit_stats.weekdays import Codes

WORDS = "text_encoder.bert.embeddings.word_embeddings.weight"


@dataclass(frozen=True, slots=True)
class SavedColumns:
    """The scalar columns in order, and the file's own codes of weekdays.

    `are_listed` is False if the columns follow from the file's layout.
    """

    names: tuple[str, ...]
    are_listed: bool
    weekday_codes: Codes | None = None


def read_saved_columns(path: Path) -> SavedColumns:
    """The file's `scalar_features`, or the first list for the first layout. Raises `CheckpointError`."""
    contents = read_outline(path)
    if not isinstance(contents, Mapping):
        raise CheckpointError(f"{path}: is not a dict, expected a checkpoint with model_state_dict")
    try:
        metadata = other_keys(contents)
        found = own_and_fitted(metadata, own_values(metadata))
        if found.get("feature_stats") and found.get("velocity"):
            raise CheckpointError(
                f"{path}: has its own feature_stats and velocity, which take precedence over a sidecar. "
                "There is nothing to fit; serve it as it is."
            )
        codes = weekday_codes(metadata, is_given=True)
        names = found.get("scalar_features")
        are_listed = bool(names)
        if not are_listed:
            names = _by_layout(path, contents)
    except LayoutError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{path}: scalar_features is not a list of names; save it as one")
    return SavedColumns(tuple(names), are_listed, tuple(codes[1]) if codes else None)


def _by_layout(path: Path, contents: Mapping[Any, Any]) -> tuple[str, ...]:
    """The first layout is known by its shapes: text without images, and eighteen columns."""
    _, weights = find_weights(contents)
    shapes = {own_name(str(name)): getattr(value, "shape", value) for name, value in weights.items()}
    fusion = next((shapes[name] for name in FUSIONS if name in shapes), None)
    words = shapes.get(WORDS)
    has_images = any(name and name.startswith("vision_encoder.") for name in shapes)
    if _is_matrix(fusion) and _is_matrix(words) and not has_images and fusion[1] - words[1] == len(MILES_V0):
        return MILES_V0
    raise CheckpointError(
        f"{path}: has no scalar_features, and is not of the first text-only layout, whose columns are known "
        f"(fusion.0.weight is {fusion}, expected {len(MILES_V0)} columns more than the text's "
        f"{words[1] if _is_matrix(words) else 'unknown'}, and no vision_encoder.*). It has "
        f"{listed(_keys(contents))}. Add scalar_features, the column names in order, to the file."
    )


def _is_matrix(shape: Any) -> TypeGuard[tuple[int, int]]:
    return isinstance(shape, tuple) and len(shape) == 2 and all(type(size) is int for size in shape)


def _keys(contents: Mapping[Any, Any]) -> list[str]:
    names = [str(key) for key in contents]
    return names if len(names) <= 8 else [*names[:8], f"{len(names) - 8} more"]
