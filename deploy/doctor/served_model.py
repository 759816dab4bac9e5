"""The model that `make serve` would serve, and whether it is compiled for this processor."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
from pathlib import Path

from deploy.doctor import FAULT, NOTE, OK, Finding, size

ROOT = Path(__file__).parents[2]
DEFAULT_CHECKPOINT = "models/model_full.pt"


def model() -> Finding:
    """The model file that would be served."""
    given = os.environ.get("MILES_CHECKPOINT")
    name = given or DEFAULT_CHECKPOINT
    path = ROOT / name
    if name.startswith("hf://"):
        return Finding("Model", NOTE, f"{name} is downloaded from the hub at the start")
    if (path / "bundle.json").is_file():
        return Finding("Model", OK, f"{name}, a compiled bundle")
    if path.is_file():
        return Finding("Model", OK, f"{name}, {size(path.stat().st_size)}")
    if given:
        return Finding("Model", FAULT, f"MILES_CHECKPOINT={name}: no such file", "correct or unset it")
    return Finding(
        "Model",
        NOTE,
        f"{name} does not exist",
        "make serve creates the demo checkpoint; or copy your own there",
    )


def engine() -> Finding:
    """The engine, its precision, and whether the model is compiled for this processor."""
    chosen = os.environ.get("MILES_ENGINE") or "openvino"
    name = f"{chosen} {_installed(chosen)}".strip()
    path = ROOT / (os.environ.get("MILES_CHECKPOINT") or DEFAULT_CHECKPOINT)
    if chosen == "torch":
        return Finding(
            "Engine", OK, f"{name} in {os.environ.get('MILES_PRECISION') or 'auto'}; nothing to compile"
        )
    folder = path
    if path.is_file():
        folder = path.parent / "compiled" / _sha256(path)[:16]
    manifest = folder / "bundle.json"
    if not manifest.is_file():
        return Finding("Engine", NOTE, f"{name}; no compiled bundle", "make serve compiles one (minutes)")
    bundle = json.loads(manifest.read_text(encoding="utf-8"))
    says = f"{name}; compiled: " + ", ".join(f"{tower} {how}" for tower, how in bundle["precision"].items())
    return _for_this_processor(says, bundle["report"].get("origin", {}).get("processor", "another processor"))


def _for_this_processor(says: str, compiled_on: str) -> Finding:
    if importlib.util.find_spec("openvino") is None:
        return Finding(
            "Engine",
            NOTE,
            f"{says}, on {compiled_on}",
            "whether it is this processor is known once OpenVINO is installed",
        )
    from model.compiled.bundle import processor as this_processor

    if compiled_on == this_processor():
        return Finding("Engine", OK, f"{says}, on this processor")
    return Finding(
        "Engine",
        NOTE,
        f"{says}, on {compiled_on}",
        "it can be served; make model compiles it for this processor",
    )


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed yet)"


def _sha256(path: Path) -> str:
    content = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            content.update(block)
    return content.hexdigest()
