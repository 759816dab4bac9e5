"""Reads, checks and writes `model_full.pt`.

No code in a file ever runs: `model.checkpoint.inert` reads it. The owner's older layouts are translated in
`model.checkpoint.layouts` before they are checked.
"""

import math
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from model.card import ModelCard
from model.checkpoint.file import CheckpointError as CheckpointError  # part of this module's interface
from model.checkpoint.file import check_file, is_safetensors
from model.checkpoint.inert import Inert, Unpickler, find_records, plain
from model.checkpoint.layouts import infer_config, normalise_state_dict
from model.checkpoint.metadata import (
    check_size,
    complete_values,
    is_absent,
    own_values,
    read_sidecar,
    some,
)
from model.checkpoint.metadata import sidecar_path as sidecar_path
from model.checkpoint.names import LayoutError
from model.config import FusionConfig
from model.network import MultimodalViralityPredictor
from model.values import problem, short_repr

# They only build a tensor over a storage that torch has read.
REBUILD = {
    ("torch._utils", name): getattr(torch._utils, name)
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
}
FORMAT = 1
RESAVE = (
    'Save it again without: torch.save({"model_state_dict": model.state_dict(), "scalar_features": [...], '
    '"feature_stats": {name: {"mean": mean, "scale": scale}, ...}}, "model_full.pt")'
)


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
    if not (is_absent(written) or (isinstance(written, int | np.integer) and written == FORMAT)):
        raise CheckpointError(
            f"{path}: format is {short_repr(written)}, this version reads {FORMAT}. Run the release that "
            "wrote it."
        )
    own = own_values(metadata)
    for where, record in find_records({key: value for key, value in own.items() if key != "config"}):
        raise CheckpointError(
            f"{path}: {where} is a {record.origin}, which only code could rebuild, and a file's code is "
            f"never run. {RESAVE}"
        )
    sidecar, objects = read_sidecar(path), dict(find_records(metadata))
    complete = complete_values(path, metadata, own, sidecar)
    values = {**complete, "config": config, "name": path.name, "sha256": digest}
    try:
        card = ModelCard.model_validate(values)
    except ValidationError as exc:
        raise _unusable(path, own, exc, objects) from exc
    return Checkpoint(card, state_dict)


def _unusable(
    path: Path, own: Mapping[str, Any], error: ValidationError, objects: Mapping[str, Inert]
) -> CheckpointError:
    key, sentence = problem(error)
    if key:
        return CheckpointError(
            f"{path if key in own else sidecar_path(path)}: {sentence}. Correct it, or train it again."
        )
    unread = "; ".join(f"{where} is a {record.origin}" for where, record in list(objects.items())[:3])
    also = f" Objects in the file are not read ({unread}): save their numbers. {RESAVE}" if unread else ""
    return CheckpointError(
        f"{path}: {sentence}, without which inputs cannot be scaled as in training. Make "
        f"{sidecar_path(path)} from its training data with `./miles fit-stats TRAINING.csv "
        f"--checkpoint {path}`, or train again with `./miles train`.{also}"
    )


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write every key of the current format, all of it plain values and tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    contents = {"format": FORMAT, "model_state_dict": checkpoint.state_dict, **checkpoint.card.to_file()}
    torch.save(contents, partial)
    partial.replace(path)


def _check_weights(path: Path, config: FusionConfig, state_dict: Mapping[str, Tensor]) -> None:
    """Require exactly the weights of the network, in its shapes, all finite."""
    expected = _shapes(config)
    missing = sorted(expected.keys() - state_dict.keys())
    extra = sorted(state_dict.keys() - expected.keys())
    if missing:
        others = f", and holds {some(extra)}, which this network does not have" if extra else ""
        raise CheckpointError(f"{path}: lacks {some(missing)}{others}. Save the whole model's state_dict().")
    if extra:
        raise CheckpointError(
            f"{path}: holds unknown weights: {some(extra)}. "
            "Save the state_dict() of a MultimodalViralityPredictor."
        )
    for name, tensor in state_dict.items():
        if tensor.shape != expected[name]:
            raise CheckpointError(
                f"{path}: {name} is {tuple(tensor.shape)}, expected {tuple(expected[name])}. "
                "Its other weights describe a different architecture."
            )
        # A NaN makes both extremes NaN. Checking each number takes ten times as long.
        if not all(math.isfinite(extreme) for extreme in torch.aminmax(tensor)):
            raise CheckpointError(f"{path}: {name} holds NaN or infinite values; train it again.")


@lru_cache(maxsize=1)
def _shapes(config: FusionConfig) -> dict[str, torch.Size]:
    """The shapes of the network's weights, by name. A file is read several times in a row."""
    with torch.device("meta"):
        return {
            name: tensor.shape for name, tensor in MultimodalViralityPredictor(config).state_dict().items()
        }


def _zero_weight_modalities(config: FusionConfig, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Modalities whose columns of the fusion are all zero."""
    weight, text = state_dict["fusion.0.weight"], config.text_dim
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


class _TensorUnpickler(Unpickler):
    """Builds tensors, too."""

    def find_class(self, module: str, name: str) -> Any:
        return REBUILD.get((module, name)) or super().find_class(module, name)


def _load(file: Any, **_: Any) -> Any:
    return _TensorUnpickler(file).load()


# What `torch.load` takes in place of the module pickle; its older format calls `load`.
PICKLE = SimpleNamespace(Unpickler=_TensorUnpickler, load=_load, __name__=__name__)


def unpickle(path: Path) -> Any:
    """The tensors, plain values and inert records that `torch.save` wrote. Raises `CheckpointError`."""
    try:
        if is_safetensors(path):
            return load_file(path)
        is_zip = zipfile.is_zipfile(path)
        check_size(path, is_zip=is_zip)
        with warnings.catch_warnings(action="ignore"):  # that a pickled module's source has changed
            # weights_only would choose torch's own unpickler, which refuses what ours reads as a record.
            contents = torch.load(path, "cpu", PICKLE, weights_only=False, mmap=is_zip)
        return plain(contents)
    except CheckpointError:
        raise
    except RecursionError as exc:
        raise CheckpointError(f"{path}: {exc}, expected plain values") from exc
    except Exception as exc:
        # A damaged file can raise RuntimeError, EOFError, KeyError, TypeError, MemoryError and more.
        raise CheckpointError(
            f"{path}: is truncated or not a torch.save file ({path.stat().st_size} bytes, "
            f"{type(exc).__name__}). Copy it again."
        ) from exc
