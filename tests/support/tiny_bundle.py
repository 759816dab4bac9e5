"""The tiny checkpoint as the compiled bundle that a service starts from in a second."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from model.compile.export import export_towers
from model.compiled.bundle import Bundle, write_manifest
from model.torch_engine import TorchEngine
from tests.support.tiny import SEED, tiny_checkpoint, tiny_config, tiny_state


def write_tiny_bundle(directory: Path, seed: int = SEED, **card: Any) -> Path:
    """Export its towers to `directory` in float32, without measuring fidelity, and return `directory`.

    Another `seed` is another model: other weights, another sha256, other answers. `card` changes its card.
    """
    tiny = tiny_checkpoint()
    if seed != SEED:
        tiny = replace(tiny, state_dict=tiny_state(tiny_config(), seed)).with_card(sha256=f"{seed:064x}")
    tiny = tiny.with_card(**card)
    towers = export_towers(tiny.build_model(), tiny.card.temperature or 1.0, directory)
    precision = dict.fromkeys(towers, "f32")
    write_manifest(Bundle(directory, tiny.card, precision, TorchEngine(tiny).neutral_image, {}))
    return directory
