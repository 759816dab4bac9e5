"""Read, check and write `model_full.pt`.

A checkpoint is everything that decides a score: weights, architecture, feature statistics, the velocity
transform, the calibration. It is always read with `weights_only=True`; there is no fallback that runs
code. Files in the owner's older layouts are translated in `model.layouts` before they are checked.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.fusion import FusionConfig, MultimodalViralityPredictor
from model.layouts import LayoutError, infer_config, normalise_state_dict
from model.velocity import Velocity, velocity_from

FORMAT = 1
LFS_MAGIC = b"version https://git-lfs"
ZIP_MAGIC = b"PK\x03\x04"
STATISTICS = ("scalar_features", "feature_stats", "velocity")
SIDECAR_KEYS = (*STATISTICS, "calibration", "text")
# What NumPy's own scalars (a metric saved as numpy.float64) need to be read; none of them runs code.
_SCALAR: Any = np.float64(0).__reduce__()[0]
NUMPY_SCALARS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    _SCALAR,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bBhHiIlLqQefd"},
]


class CheckpointError(Exception):
    """A checkpoint that cannot be used: names the file, what is wrong with both values, the next step."""


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

    def require_statistics(self) -> None:
        """Raise `CheckpointError` unless the file says how its inputs and its velocity were scaled."""
        missing = [key for key in STATISTICS if getattr(self, key) is None]
        if missing:
            sidecar = sidecar_path(self.path) if self.path else "a sidecar"
            raise CheckpointError(
                f"{self.path}: lacks {', '.join(missing)}, without which inputs cannot be scaled as in "
                f"training. Write them to {sidecar} (its keys are described in models/README.md), or train "
                "again with `python -m training.fit`."
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
    digest = _check_file(path, expected_sha256)
    contents = _unpickle(path)
    try:
        state_dict, metadata = normalise_state_dict(contents)
        metadata = _with_sidecar(path, metadata)
        config = infer_config(state_dict, metadata.get("config"))
    except LayoutError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    _check_weights(path, config, state_dict)
    return replace(_with_metadata(path, config, state_dict, metadata), path=path, sha256=digest)


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write every key of the current format, all of it plain values and tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "format": FORMAT,
            "model_state_dict": checkpoint.state_dict,
            "config": checkpoint.config.to_dict(),
            "scalar_features": list(checkpoint.scalar_features or ()),
            "test_metrics": checkpoint.test_metrics,
            "feature_stats": checkpoint.feature_stats,
            "velocity": asdict(checkpoint.velocity) if checkpoint.velocity else None,
            "calibration": {"temperature": checkpoint.temperature},
            "text": {"fields": list(checkpoint.text_fields), "max_tokens": checkpoint.max_tokens},
            "golden": checkpoint.golden,
            "provenance": checkpoint.provenance,
        },
        partial,
    )
    partial.replace(path)


def _check_file(path: Path, expected_sha256: str | None) -> str:
    """The file's sha256, once it is plain that it is a file that `torch.save` could have written."""
    if path.is_dir():
        raise CheckpointError(f"{path}: is a directory, expected a file; name the .pt file in it")
    if not path.exists():
        raise CheckpointError(f"{path}: no such file. Run `make model` for the demo, or bring your own.")
    try:
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


def _unpickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except pickle.UnpicklingError as exc:
        refused = str(exc)
        if "GLOBAL" in refused or "global" in refused:
            raise CheckpointError(
                f"{path}: holds objects whose loading would run code, which is never allowed. Save only "
                "tensors and plain values, then try again."
            ) from exc
        raise CheckpointError(f"{path}: is not a torch.save file. Check what was copied there.") from exc
    except (RuntimeError, EOFError, ValueError, OSError, KeyError, AttributeError, IndexError) as exc:
        raise CheckpointError(
            f"{path}: is truncated or not a torch.save file ({path.stat().st_size} bytes). Copy it again."
        ) from exc


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


def _with_sidecar(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    """`metadata` with what it lacks from the statistics beside the file; the file itself wins."""
    sidecar = sidecar_path(path)
    if not sidecar.exists():
        return metadata
    try:
        extra = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise CheckpointError(f"{sidecar}: is not readable JSON ({exc})") from exc
    if not isinstance(extra, dict) or set(extra) - set(SIDECAR_KEYS):
        keys = sorted(set(extra) - set(SIDECAR_KEYS)) if isinstance(extra, dict) else type(extra).__name__
        raise CheckpointError(f"{sidecar}: holds {keys}, expected an object with {', '.join(SIDECAR_KEYS)}")
    return {**extra, **{key: value for key, value in metadata.items() if value}}


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


def _with_metadata(
    path: Path, config: FusionConfig, state_dict: dict[str, Tensor], metadata: Mapping[str, Any]
) -> Checkpoint:
    if metadata.get("format", FORMAT) != FORMAT:
        raise CheckpointError(
            f"{path}: has format {metadata['format']!r}, this version reads {FORMAT}. "
            "Run the release that wrote it."
        )
    names = metadata.get("scalar_features")
    if names and len(names) != config.scalars:
        raise CheckpointError(
            f"{path}: names {len(names)} scalar features, its fusion takes {config.scalars}. "
            "Correct scalar_features, or train it again."
        )
    try:
        velocity = velocity_from(metadata["velocity"]) if metadata.get("velocity") else None
    except ValueError as exc:
        raise CheckpointError(f"{path}: velocity: {exc}. Correct it, or train it again.") from exc
    text = metadata.get("text") or {}
    # A file without the key was trained before there was a choice: titles alone when it reads no image.
    default_fields = ("title", "description") if config.vision else ("title",)
    return Checkpoint(
        config=config,
        state_dict=state_dict,
        scalar_features=tuple(names) if names else None,
        feature_stats=metadata.get("feature_stats") or None,
        velocity=velocity,
        temperature=_temperature(path, metadata.get("calibration") or {}),
        text_fields=tuple(text.get("fields", default_fields)),
        max_tokens=int(text.get("max_tokens", 128)),
        test_metrics=dict(metadata.get("test_metrics") or {}),
        golden=dict(metadata.get("golden") or {}),
        provenance=dict(metadata.get("provenance") or {}),
    )


def _temperature(path: Path, calibration: Mapping[str, Any]) -> float | None:
    temperature = calibration.get("temperature")
    if temperature is None:
        return None
    if not isinstance(temperature, int | float) or not 0 < temperature < float("inf"):
        raise CheckpointError(f"{path}: temperature is {temperature!r}, expected a finite number above 0.")
    return float(temperature)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
