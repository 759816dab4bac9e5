"""Read, check and write `model_full.pt`.

A checkpoint is everything that decides a score: weights, architecture, feature statistics, the velocity
transform, the calibration. It is always read with `weights_only=True`; there is no fallback that runs
code. Files in the owner's older layouts are translated in `model.checkpoint.layouts` before they are checked.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.card import ModelCard
from model.checkpoint import metadata as checked
from model.checkpoint.file import CheckpointError as CheckpointError  # part of this module's interface
from model.checkpoint.file import check_file
from model.checkpoint.layouts import LayoutError, infer_config, normalise_state_dict
from model.checkpoint.metadata import FORMAT, MetadataError, is_absent
from model.config import FusionConfig
from model.network import MultimodalViralityPredictor
from model.velocity import Velocity

ZIP_MAGIC = b"PK\x03\x04"
# What NumPy's own scalars (a metric saved as numpy.float64) need to be read; none of them runs code.
_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    _SCALAR,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]
STATISTICS = ("scalar_features", "feature_stats", "velocity")
RECORDS = ("test_metrics", "golden", "provenance", "distributions")
SIDECAR_KEYS = (*STATISTICS, "calibration", "text", "distributions", "titles")


@dataclass(frozen=True)
class Checkpoint:
    """A checked checkpoint. Statistics are None where the file (and its sidecar) lack them."""

    config: FusionConfig
    state_dict: dict[str, Tensor] = field(repr=False)
    scalar_features: tuple[str, ...] | None = None
    feature_stats: dict[str, dict[str, float | None]] | None = None
    velocity: Velocity | None = None
    temperature: float | None = None
    text_fields: tuple[str, ...] = ("title", "description")
    max_tokens: int = 128
    test_metrics: dict[str, Any] = field(default_factory=dict)
    golden: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    distributions: dict[str, Any] = field(default_factory=dict)
    titles: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None
    sha256: str = ""

    @property
    def name(self) -> str:
        """The file's name, for people."""
        return self.path.name if self.path else "unsaved checkpoint"

    @property
    def zero_weight_modalities(self) -> tuple[str, ...]:
        """Modalities whose columns of the fusion are all zero: present, and without any say in a score."""
        weight = self.state_dict["fusion.0.weight"]
        text, image = self.config.text.output_dim, self.config.image_dim
        columns = {"text": weight[:, :text], "image": weight[:, text : text + image]}
        return tuple(
            name for name, block in columns.items() if block.numel() and not bool(block.count_nonzero())
        )

    def card(self) -> ModelCard:
        """What a service needs to know besides running it. Raises `CheckpointError` without statistics."""
        self.require_statistics()
        assert self.scalar_features is not None, "require_statistics has seen to it"
        assert self.feature_stats is not None, "require_statistics has seen to it"
        assert self.velocity is not None, "require_statistics has seen to it"
        return ModelCard(
            name=self.name,
            sha256=self.sha256,
            config=self.config,
            scalar_features=self.scalar_features,
            feature_stats=self.feature_stats,
            velocity=self.velocity,
            temperature=self.temperature,
            text_fields=self.text_fields,
            max_tokens=self.max_tokens,
            parameters=self._count_parameters(),
            zero_weight_modalities=self.zero_weight_modalities,
            test_metrics=self.test_metrics,
            golden=self.golden,
            provenance=self.provenance,
            distributions=self.distributions,
            titles=self.titles,
        )

    def _count_parameters(self) -> dict[str, int]:
        """Learned numbers; batch-norm's running statistics are not learned by gradient."""
        computed = ("running_mean", "running_var", "num_batches_tracked")
        sizes = {name: t.numel() for name, t in self.state_dict.items() if not name.endswith(computed)}
        encoders = ("text_encoder.", "vision_encoder.")
        frozen = sum(size for name, size in sizes.items() if name.startswith(encoders))
        total = sum(sizes.values())
        return {"total": total, "trainable": total - frozen, "frozen": frozen}

    def require_statistics(self) -> None:
        """Raise `CheckpointError` unless the file says how its inputs and its velocity were scaled."""
        missing = [key for key in STATISTICS if getattr(self, key) is None]
        if missing:
            raise CheckpointError(
                f"{self.path}: lacks {', '.join(missing)}, without which inputs cannot be scaled as in "
                f"training. Make {sidecar_path(self.path or Path('CHECKPOINT.pt'))} from its training data "
                f"with `python -m training.fit_stats TRAINING.csv --checkpoint {self.path}`, or train again "
                "with `python -m training.fit`."
            )

    def build_model(self) -> MultimodalViralityPredictor:
        """The network with this checkpoint's weights, in evaluation mode."""
        with torch.device("meta"):
            model = MultimodalViralityPredictor(self.config)
        model.load_state_dict(self.state_dict, strict=True, assign=True)
        model.fill_buffers()
        model.requires_grad_(False)
        return model.eval()


def sidecar_path(path: Path) -> Path:
    """Where the statistics that a file lacks are looked for: `model_full.stats.json`."""
    return path.with_suffix(".stats.json")


def read_checkpoint(path: Path, expected_sha256: str | None = None) -> Checkpoint:
    """Read `path`, translate older layouts, check everything that can be checked without running it.

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
    sidecar = _read_sidecar(path)
    said = {**sidecar, **{key: value for key, value in metadata.items() if not is_absent(value)}}
    try:
        fields = _checked_metadata(config, said)
    except MetadataError as exc:
        key = exc.key.partition(".")[0]
        source = path if said.get(key) is not sidecar.get(key) else sidecar_path(path)
        raise CheckpointError(f"{source}: {exc}. Correct it, or train it again.") from exc
    return Checkpoint(config=config, state_dict=state_dict, path=path, sha256=digest, **fields)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write every key of the current format, all of it plain values and tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    torch.save(
        {
            "format": FORMAT,
            "model_state_dict": checkpoint.state_dict,
            "config": checkpoint.config.to_dict(),
            "scalar_features": list(checkpoint.scalar_features or ()),
            "test_metrics": checkpoint.test_metrics,
            "feature_stats": checkpoint.feature_stats,
            "velocity": asdict(checkpoint.velocity) if checkpoint.velocity else None,
            "calibration": {"temperature": checkpoint.temperature} if checkpoint.temperature else None,
            "text": {"fields": list(checkpoint.text_fields), "max_tokens": checkpoint.max_tokens},
            "golden": checkpoint.golden,
            "provenance": checkpoint.provenance,
            "distributions": checkpoint.distributions,
            "titles": checkpoint.titles,
        },
        partial,
    )
    partial.replace(path)


def _read_sidecar(path: Path) -> dict[str, Any]:
    """The statistics beside the file, for the keys that it lacks; the file itself wins."""
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
    return statistics


def _check_weights(path: Path, config: FusionConfig, state_dict: Mapping[str, Tensor]) -> None:
    """Every weight that the network needs, in its shape, finite; and nothing else."""
    with torch.device("meta"):
        expected = MultimodalViralityPredictor(config).state_dict()
    missing = sorted(expected.keys() - state_dict.keys())
    if missing:
        raise CheckpointError(f"{path}: lacks {_some(missing)}. Save the whole model's state_dict().")
    extra = sorted(state_dict.keys() - expected.keys())
    if extra:
        raise CheckpointError(
            f"{path}: holds weights that this network has no place for: {_some(extra)}. "
            "Save the state_dict() of a MultimodalViralityPredictor."
        )
    for name, tensor in state_dict.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {name} is {tuple(tensor.shape)}, expected {tuple(expected[name].shape)}. "
                "Its architecture is not the one that its other weights describe."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinite values; train it again.")


def _checked_metadata(config: FusionConfig, said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `Checkpoint` that the file and its sidecar state in words. Raises `MetadataError`."""
    checked.check_format(said.get("format"))
    names = checked.scalar_features(said.get("scalar_features"), config.scalars)
    text_fields, max_tokens = checked.text(said.get("text"), config)
    return {
        "scalar_features": names,
        "feature_stats": checked.feature_stats(said.get("feature_stats"), names),
        "velocity": checked.velocity(said.get("velocity")),
        "temperature": checked.temperature(said.get("calibration")),
        "text_fields": text_fields,
        "max_tokens": max_tokens,
        "titles": checked.titles(said.get("titles"), config),
        **{key: checked.mapping(key, said.get(key)) for key in RECORDS},
    }


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


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
