"""Reads, checks and writes `model_full.pt`.

A file is always read with `weights_only=True`, without a fallback that runs code. The owner's older layouts
are translated in `model.checkpoint.layouts` before they are checked.
"""

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from model.card import ModelCard
from model.checkpoint.file import SIDECAR_SUFFIX, check_file
from model.checkpoint.file import CheckpointError as CheckpointError  # part of this module's interface
from model.checkpoint.layouts import LayoutError, infer_config, normalise_state_dict
from model.config import FusionConfig
from model.network import MultimodalViralityPredictor
from model.values import problem, short_repr

# Needed to read NumPy's scalars (a metric saved as numpy.float64); none of them runs code.
_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    _SCALAR,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]
FORMAT = 1
CARD_KEYS = (
    *("config", "scalar_features", "feature_stats", "velocity", "calibration", "text"),
    *("test_metrics", "golden", "provenance", "distributions", "titles"),
    *("patterns", "interval_coverage", "meaningful_difference"),
)
SIDECAR_KEYS = CARD_KEYS[1:]  # the architecture is in the weights


@dataclass(frozen=True)
class Checkpoint:
    """A model's card and its weights; the card's counts are computed from the weights."""

    card: ModelCard
    state_dict: dict[str, Tensor] = field(repr=False)

    def __post_init__(self) -> None:
        counted = {
            "parameters": _count_parameters(self.state_dict),
            "zero_weight_modalities": _zero_weight_modalities(self.card.config, self.state_dict),
        }
        object.__setattr__(self, "card", self.card.model_copy(update=counted))

    def with_card(self, **values: Any) -> "Checkpoint":
        """The same weights under a card with other values."""
        return replace(self, card=self.card.changed(**values))

    def build_model(self) -> MultimodalViralityPredictor:
        """The network with this checkpoint's weights, in evaluation mode."""
        with torch.device("meta"):
            model = MultimodalViralityPredictor(self.card.config)
        model.load_state_dict(self.state_dict, strict=True, assign=True)
        model.fill_buffers()
        model.requires_grad_(False)
        return model.eval()


def sidecar_path(path: Path) -> Path:
    """The path of a checkpoint's statistics, `model_full.stats.json`."""
    return path.with_suffix(SIDECAR_SUFFIX)


def read_checkpoint(path: Path, expected_sha256: str | None = None) -> Checkpoint:
    """The checkpoint in `path`, completely checked; its sidecar adds the keys that the file lacks.

    Raises `CheckpointError`.
    """
    digest = check_file(path, expected_sha256)
    contents = unpickle(path)
    try:
        state_dict, metadata = normalise_state_dict(contents)
        config = infer_config(state_dict, metadata.get("config"))
    except LayoutError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    _check_weights(path, config, state_dict)
    written = metadata.get("format")  # older files have none
    if not (_is_absent(written) or (isinstance(written, int | np.integer) and written == FORMAT)):
        raise CheckpointError(
            f"{path}: format is {short_repr(written)}, this version reads {FORMAT}. Run the release that "
            "wrote it."
        )
    own = {key: metadata[key] for key in CARD_KEYS if not _is_absent(metadata.get(key))}
    values = {**_read_sidecar(path), **own, "config": config, "name": path.name, "sha256": digest}
    try:
        card = ModelCard.model_validate(values)
    except ValidationError as exc:
        raise _unusable(path, own, exc) from exc
    return Checkpoint(card, state_dict)


def _is_absent(value: Any) -> bool:
    """Whether a key is missing, null or an empty collection."""
    return value is None or (isinstance(value, Mapping | list | tuple | str) and not value)


def _unusable(path: Path, own: Mapping[str, Any], error: ValidationError) -> CheckpointError:
    key, sentence = problem(error)
    if key:
        return CheckpointError(
            f"{path if key in own else sidecar_path(path)}: {sentence}. Correct it, or train it again."
        )
    return CheckpointError(
        f"{path}: {sentence}, without which inputs cannot be scaled as in training. Make "
        f"{sidecar_path(path)} from its training data with `./miles fit-stats TRAINING.csv "
        f"--checkpoint {path}`, or train again with `./miles train`."
    )


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write every key of the current format, all of it plain values and tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    contents = {"format": FORMAT, "model_state_dict": checkpoint.state_dict, **checkpoint.card.to_file()}
    torch.save(contents, partial)
    partial.replace(path)


def _read_sidecar(path: Path) -> dict[str, Any]:
    """The keys of the sidecar; without one, none."""
    sidecar = sidecar_path(path)
    if not sidecar.exists():
        return {}
    try:
        statistics = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as exc:
        raise CheckpointError(f"{sidecar}: is not readable JSON ({exc}). Write it again.") from exc
    expected = f"expected an object with {', '.join(SIDECAR_KEYS)}"
    if not isinstance(statistics, dict):
        raise CheckpointError(f"{sidecar}: holds a {type(statistics).__name__}, {expected}")
    unknown = sorted(statistics.keys() - set(SIDECAR_KEYS))
    if unknown:
        raise CheckpointError(f"{sidecar}: holds {_some(unknown)}, {expected}")
    return {key: value for key, value in statistics.items() if not _is_absent(value)}


def _check_weights(path: Path, config: FusionConfig, state_dict: Mapping[str, Tensor]) -> None:
    """Require exactly the weights of the network, in its shapes, all finite."""
    with torch.device("meta"):
        expected = MultimodalViralityPredictor(config).state_dict()
    missing = sorted(expected.keys() - state_dict.keys())
    if missing:
        raise CheckpointError(f"{path}: lacks {_some(missing)}. Save the whole model's state_dict().")
    extra = sorted(state_dict.keys() - expected.keys())
    if extra:
        raise CheckpointError(
            f"{path}: holds unknown weights: {_some(extra)}. "
            "Save the state_dict() of a MultimodalViralityPredictor."
        )
    for name, tensor in state_dict.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}. "
                "Its other weights describe a different architecture."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinite values; train it again.")


def _zero_weight_modalities(config: FusionConfig, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Modalities whose columns of the fusion are all zero."""
    weight, text = state_dict["fusion.0.weight"], config.text.output_dim
    columns = {"text": weight[:, :text], "image": weight[:, text : text + config.image_dim]}
    return tuple(name for name, block in columns.items() if block.numel() and not bool(block.count_nonzero()))


def _count_parameters(state_dict: Mapping[str, Tensor]) -> dict[str, int]:
    """Learned weights; batch-norm's running statistics are not learned by gradient."""
    computed = ("running_mean", "running_var", "num_batches_tracked")
    sizes = {name: t.numel() for name, t in state_dict.items() if not name.endswith(computed)}
    frozen = sum(
        size for name, size in sizes.items() if name.startswith(("text_encoder.", "vision_encoder."))
    )
    total = sum(sizes.values())
    return {"total": total, "trainable": total - frozen, "frozen": frozen}


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def unpickle(path: Path) -> Any:
    """The tensors and plain values that `torch.save` wrote to `path`. Raises `CheckpointError`."""
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as exc:
        # A damaged file can raise RuntimeError, EOFError, KeyError, TypeError, MemoryError and more.
        if isinstance(exc, pickle.UnpicklingError) and "global" in str(exc).lower():
            raise CheckpointError(
                f"{path}: holds objects whose loading would run code, which is never allowed. Save only "
                "tensors and plain values, then try again."
            ) from exc
        raise CheckpointError(
            f"{path}: is truncated or not a torch.save file ({path.stat().st_size} bytes, "
            f"{type(exc).__name__}). Copy it again."
        ) from exc
