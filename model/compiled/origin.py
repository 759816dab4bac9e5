"""What a bundle was compiled from, and whether the same command would make it again. Knows no torch."""

import platform
from pathlib import Path
from typing import Any

import openvino as ov

from model.checkpoint.file import check_file
from model.compile.calibration_set import calibration_sha256
from model.compiled.bundle import Bundle, BundleError, read_bundle

RECIPE = 3  # raise it when the same inputs would give another bundle


def origin_of(checkpoint: Path, precision: str, calibration: Path) -> dict[str, Any]:
    """Everything that decides a bundle: files by their sha256, the recipe, the processor that chose.

    Raises `CheckpointError`.
    """
    sidecar = checkpoint.with_suffix(".stats.json")
    return {
        "checkpoint_sha256": check_file(checkpoint, None),
        "sidecar_sha256": check_file(sidecar, None) if sidecar.exists() else None,
        "calibration_sha256": calibration_sha256(calibration),
        "precision": precision,
        "recipe": RECIPE,
        "openvino": ov.__version__,
        "processor": processor(),
    }


def current_bundle(directory: Path, origin: dict[str, Any]) -> Bundle | None:
    """The bundle in `directory` if it is whole and of this origin."""
    try:
        bundle = read_bundle(directory)
    except BundleError:
        return None
    return bundle if bundle.report.get("origin") == origin else None


def processor() -> str:
    """The processor's name with what decides a precision, for people."""
    core = ov.Core()
    name = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip() or platform.processor()
    return f"{name} ({', '.join(sorted(capabilities() & {'BF16', 'INT8'})) or 'neither BF16 nor INT8'})"


def capabilities() -> set[str]:
    """What this processor computes in without emulation, in OpenVINO's words."""
    return set(ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
