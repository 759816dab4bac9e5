"""A checkpoint that costs what an owner's does, because all of its layers work.

    python -m benchmarks.harness.checkpoint      writes and compiles build/bench/model.pt

BERT-base and ResNet-50 with seeded weights, and the demo's head for the scalars. Half of the demo's own text
layers compute nothing and are left out when it is compiled, so the demo would look too fast. The head gives
texts and images a little weight, so that a server which mixes them up returns different scores.
"""

import os
from pathlib import Path

import torch

from benchmarks.harness.contestants import CHECKPOINT
from model.checkpoint.file import DEMO_DIRECTORY
from model.checkpoint.store import Checkpoint, write_checkpoint
from model.compile.__main__ import compile_checkpoint
from model.demo_checkpoint import FALLBACK, compose, read_demo

SEED = 20
GAIN = 0.002  # of a vector's entry on a hidden unit: moves scores by hundredths


def seeded() -> Checkpoint:
    """Twelve working text layers, ResNet-50, and a head that reads both."""
    demo = compose(read_demo(DEMO_DIRECTORY / FALLBACK))
    weight = demo.state_dict["fusion.0.weight"].clone()
    towers = weight.shape[1] - demo.card.config.scalars
    generator = torch.Generator().manual_seed(SEED)
    weight[:, :towers] = GAIN * torch.randn(len(weight), towers, generator=generator)
    provenance = {"source": "benchmark", "notes": ["Seeded weights, for benchmarks only."]}
    card = demo.card.changed(zero_weight_modalities=(), golden={}, distributions={}, provenance=provenance)
    return Checkpoint(card, demo.state_dict | {"fusion.0.weight": weight})


def main() -> None:
    """Make the checkpoint if there is none, and compile it; MILES_CHECKPOINT names another to compile."""
    path = Path(os.environ.get("MILES_CHECKPOINT") or CHECKPOINT)
    if path == CHECKPOINT and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(path, seeded())
    compile_checkpoint(path)


if __name__ == "__main__":
    main()
