"""Reads, checks and writes `model_full.pt`.

No code of a file ever runs: `model.checkpoint.inert` reads it. The owner's older layouts are translated in
`model.checkpoint.layouts` before they are checked.
"""

import json
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from model.card import ModelCard
from model.checkpoint.file import SIDECAR_SUFFIX, check_file
from model.checkpoint.file import CheckpointError as CheckpointError  # part of this module's interface
from model.checkpoint.fitted import statistics
from model.checkpoint.inert import Inert, Unpickler, find_records, plain
from model.checkpoint.layouts import LayoutError, infer_config, normalise_state_dict
from model.config import FusionConfig
from model.network import MultimodalViralityPredictor
from model.values import problem, short_repr

# They only build a tensor over a storage that torch has read.
REBUILD = {
    ("torch._utils", name): getattr(torch._utils, name)
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
}
# A large network takes 30,000; each may make an object of 100 bytes.
MAX_INSTRUCTIONS = 1_000_000
LEGACY_PICKLES = 4  # magic number, version, machine and contents, in a row
FORMAT = 1
CARD_KEYS = (
    *("config", "scalar_features", "feature_stats", "velocity", "calibration", "text"),
    *("test_metrics", "golden", "provenance", "distributions", "titles"),
    *("patterns", "interval_coverage", "meaningful_difference"),
)
SIDECAR_KEYS = CARD_KEYS[1:]  # the architecture is in the weights
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
    if "weights_from" in metadata and isinstance(own.get("provenance", {}), Mapping):
        own["provenance"] = {**own.get("provenance", {}), "weights_from": metadata["weights_from"]}
    for where, record in find_records({key: value for key, value in own.items() if key != "config"}):
        raise CheckpointError(
            f"{path}: {where} is a {record.origin}, which only code could rebuild, and a file's code is "
            f"never run. {RESAVE}"
        )
    sidecar = _read_sidecar(path)
    objects = dict(find_records(metadata))
    names = own.get("scalar_features", sidecar.get("scalar_features"))
    names = names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
    fitted = statistics(objects.values(), names)
    values = {**sidecar, **fitted, **own, "config": config, "name": path.name, "sha256": digest}
    try:
        card = ModelCard.model_validate(values)
    except ValidationError as exc:
        raise _unusable(path, own, exc, objects) from exc
    return Checkpoint(card, state_dict)


def _is_absent(value: Any) -> bool:
    """Whether a key is missing, null or an empty collection."""
    return value is None or (isinstance(value, Mapping | list | tuple | str) and not value)


def _unusable(
    path: Path, own: Mapping[str, Any], error: ValidationError, objects: Mapping[str, Inert]
) -> CheckpointError:
    key, sentence = problem(error)
    if key:
        return CheckpointError(
            f"{path if key in own else sidecar_path(path)}: {sentence}. Correct it, or train it again."
        )
    unread = "; ".join(f"{where} is a {record.origin}" for where, record in list(objects.items())[:3])
    also = f" Objects in the file are not read ({unread}): save their numbers." if unread else ""
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
        is_zip = zipfile.is_zipfile(path)
        _check_size(path, is_zip=is_zip)
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


def _check_size(path: Path, *, is_zip: bool) -> None:
    """Raises `CheckpointError` for a pickle that would fill the memory; the weights are not part of it."""
    with path.open("rb") as file:
        if not is_zip:
            for _ in range(LEGACY_PICKLES):
                _count_instructions(path, file)
            return
        with zipfile.ZipFile(file) as archive:
            entry = next(each for each in archive.infolist() if each.filename.endswith("data.pkl"))
            with archive.open(entry) as pickled:
                _count_instructions(path, pickled)


def _count_instructions(path: Path, pickled: IO[bytes]) -> None:
    for number, _ in enumerate(pickletools.genops(pickled)):
        if number == MAX_INSTRUCTIONS:
            raise CheckpointError(
                f"{path}: describes more than {MAX_INSTRUCTIONS:,} values besides its tensors, at most that "
                "many are read. Save long lists of numbers as tensors."
            )
