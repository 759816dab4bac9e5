"""A checkpoint of a few hundred kilobytes, for tests that write and damage files by the hundred.

Same network, same names; two BERT layers of width 128 (so that its heads follow from its shapes, as with the
published BERTs), two hundred words, and the shallowest ResNet.
"""

from dataclasses import asdict
from functools import cache
from typing import Any

import torch
from torch import Tensor

from model.card import ModelCard
from model.checkpoint.store import Checkpoint
from model.config import FusionConfig, TextConfig, VisionConfig
from model.outputs import LogVelocity
from tests.support.tiny import tiny_state

TEXT = TextConfig(vocab_size=200, hidden_size=128, layers=2, heads=2, intermediate_size=64, max_positions=64)
VISION = VisionConfig(block="basic", stages=(1, 1, 1, 1))
NAMES = ("first", "second", "third")
STATS = {name: {"mean": 1.0, "scale": 2.0, "low": 0.0, "high": None} for name in NAMES}
VELOCITY = {"transform": "log1p", "mean": 9.0, "scale": 2.0, "high": 18.0}


@cache
def small_state(*, with_vision: bool) -> dict[str, Tensor]:
    """Seeded weights; shared, so copy the dict before changing it."""
    return tiny_state(small_config(with_vision=with_vision))


def small_config(*, with_vision: bool = False) -> FusionConfig:
    return FusionConfig(text=TEXT, vision=VISION if with_vision else None, scalars=len(NAMES), hidden=(16, 8))


def small_checkpoint(
    *, with_vision: bool = False, state_dict: dict[str, Tensor] | None = None, **changes: Any
) -> Checkpoint:
    """A complete checkpoint, by default without an image tower."""
    values: dict[str, Any] = {
        "config": small_config(with_vision=with_vision),
        "scalar_features": NAMES,
        "feature_stats": STATS,
        "velocity": LogVelocity(9.0, 2.0, 18.0),
        "temperature": 1.5,
        "text_fields": ("title",),
        "max_tokens": 32,
        "provenance": {"data": "generated"},
    }
    card = ModelCard.model_validate(values | changes)
    return Checkpoint(card, state_dict or dict(small_state(with_vision=with_vision)))


def contents(*, with_vision: bool = False, **changes: Any) -> dict[str, Any]:
    """The dict that such a file holds, with some keys replaced."""
    whole = {
        "format": 1,
        "model_state_dict": dict(small_state(with_vision=with_vision)),
        "config": asdict(small_config(with_vision=with_vision)),
        "scalar_features": list(NAMES),
        "test_metrics": {"auroc": 0.5},
        "feature_stats": STATS,
        "velocity": VELOCITY,
        "calibration": {"temperature": 1.5},
        "text": {"fields": ["title"], "max_tokens": 32},
        "golden": {},
        "provenance": {"data": "generated"},
    }
    return whole | changes


def answers(checkpoint: Checkpoint) -> Tensor:
    """The network's logits and regression for three fixed inputs, (3, 3)."""
    model = checkpoint.build_model()
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 200, (3, 12), generator=draw)
    scalars = torch.randn(3, len(NAMES), generator=draw)
    pixels = torch.randn(3, 3, 64, 64, generator=draw) if checkpoint.card.config.vision else None
    with torch.no_grad():
        logits, velocity = model(ids, torch.zeros_like(ids), torch.ones_like(ids), pixels, scalars)
    return torch.cat([logits, velocity], dim=1)
