"""The tiny checkpoint as the compiled bundle that a service starts from in a second."""

from pathlib import Path

from model.bundle import Bundle, write_manifest
from model.export import export_towers
from model.torch_engine import TorchEngine
from tests.tiny import tiny_checkpoint


def write_tiny_bundle(directory: Path) -> Path:
    """Export its towers to `directory` in float32, not judged, and return `directory`."""
    tiny = tiny_checkpoint()
    towers = export_towers(tiny.build_model(), tiny.temperature or 1.0, directory)
    precision = dict.fromkeys(towers, "f32")
    write_manifest(Bundle(directory, tiny.card(), precision, TorchEngine(tiny).neutral_image, {}))
    return directory
