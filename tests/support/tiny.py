"""Tiny real parts that every test shares: a network of the fixed kind, small enough to run in milliseconds.

Nothing here is a stand-in. The tokenizer's whole vocabulary and the 18 features are as in production; only
the encoders are shallow, the pictures small and the fusion narrow. The weights are seeded, not trained.
"""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from features import MILES_V1, Distribution, FeatureScaler, Video, compute_features, fit_distributions
from model.card import MeaningfulDifference, ModelCard
from model.checkpoint.store import Checkpoint, write_checkpoint
from model.config import FusionConfig, TextConfig, VisionConfig
from model.engine import Vectors
from model.network import MultimodalViralityPredictor
from model.outputs import LogVelocity

SEED = 7
TEMPERATURE = 1.3
TINY_TEXT = TextConfig(layers=2, hidden_size=64, heads=4, intermediate_size=128)
SIDE = 64  # pixels
TINY_VISION = VisionConfig(block="basic", stages=(1, 1, 1, 1), height=SIDE, width=SIDE)
FIRST_DAY = datetime(2018, 1, 1, tzinfo=UTC)
TITLES = (
    "I tried 5 viral pasta hacks!",
    "How do planes stay up?",
    "morning routine",
    "GOAL OF THE YEAR",
    "10 minute workout, no equipment",
    "Why is the sky blue? Explained!",
)


def tiny_config(*, with_vision: bool = True) -> FusionConfig:
    """The fixed architecture, shallow: 64 + 512 + 18 -> 64 -> 32; text-only 64 + 18."""
    return FusionConfig(text=TINY_TEXT, vision=TINY_VISION if with_vision else None, hidden=(64, 32))


def tiny_videos(count: int = 40, seed: int = SEED) -> list[Video]:
    """Videos of all sizes; every fourth has no publication time, every third has a description."""
    draw = np.random.default_rng(seed)
    videos = []
    for index in range(count):
        views = int(10 ** draw.uniform(0, 7))
        published = FIRST_DAY + timedelta(hours=float(draw.uniform(0, 1000)))
        videos.append(
            Video(
                title=f"{TITLES[index % len(TITLES)]} part {index}"
                if index % 2
                else TITLES[index % len(TITLES)],
                description="Recipe and shopping list below. Subscribe!" if index % 3 == 0 else "",
                view_count=views,
                like_count=int(views * draw.uniform(0, 0.2)),
                comment_count=int(views * draw.uniform(0, 0.02)),
                duration_seconds=round(float(draw.uniform(5, 600)), 1),
                published_at=None if index % 4 == 0 else published,
                observed_at=published + timedelta(hours=float(draw.uniform(1, 500))),
            )
        )
    return videos


def tiny_scaler() -> FeatureScaler:
    """Statistics of the 18 features over forty tiny videos."""
    return FeatureScaler().fit(compute_features(tiny_videos(), MILES_V1), MILES_V1)


def _tiny_distributions() -> dict[str, Any]:
    """Distributions of forty tiny videos, and scores that are all equally frequent."""
    fitted = fit_distributions(compute_features(tiny_videos(), MILES_V1), MILES_V1)
    scores = Distribution.fit(np.linspace(0, 1, 101))
    assert scores is not None, "they vary"
    return {name: known.to_plain() for name, known in {**fitted, "viral_score": scores}.items()}


def tiny_state(config: FusionConfig, seed: int = SEED) -> dict[str, Tensor]:
    """Seeded weights, scaled so that signals survive: text, image and scalars all affect a score."""
    with torch.device("meta"):
        shapes = MultimodalViralityPredictor(config).state_dict()
    draw = np.random.default_rng(seed)
    state = {
        name: torch.from_numpy(_weights(draw, name, tuple(value.shape))) for name, value in shapes.items()
    }
    # Untrained ResNet features are many, large and all positive: at full weight they drown the rest.
    state["fusion.0.weight"][:, config.text_dim : -config.scalars] *= 0.1
    return state


def _weights(draw: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    if name.endswith("num_batches_tracked"):
        return np.array(0)
    if len(shape) == 1:  # norms and biases; whatever scales is near 1, whatever shifts near 0
        centre = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
        return draw.uniform(centre - 0.1, centre + 0.1, shape).astype(np.float32)
    reach = math.sqrt(6 / math.prod(shape[1:]))  # He et al. 2015, fan in
    return draw.uniform(-reach, reach, shape).astype(np.float32)


@cache
def _tiny_checkpoint(with_vision: bool) -> Checkpoint:
    config = tiny_config(with_vision=with_vision)
    card = ModelCard(
        config=config,
        scalar_features=MILES_V1,
        feature_stats=tiny_scaler().to_stats(),
        velocity=LogVelocity(mean=9.0, scale=2.0, high=18.0),
        temperature=TEMPERATURE,
        text_fields=("title", "description") if with_vision else ("title",),
        meaningful_difference=MeaningfulDifference(viral_score=0.01, velocity=1.05),
        test_metrics={"auroc": 0.5},
        distributions=_tiny_distributions(),
        provenance={
            "encoders": f"seeded random, seed {SEED}",
            "data": "generated",
            "code": "tests/support/tiny.py",
        },
    )
    return Checkpoint(card, tiny_state(config))


def tiny_checkpoint(*, with_vision: bool = True) -> Checkpoint:
    """A complete checkpoint, with statistics, without golden answers."""
    checkpoint = _tiny_checkpoint(with_vision)
    return replace(checkpoint, state_dict=dict(checkpoint.state_dict))


def write_tiny(path: Path, *, with_vision: bool = True) -> Path:
    """Write the tiny checkpoint to `path` and return `path`."""
    write_checkpoint(path, tiny_checkpoint(with_vision=with_vision))
    return path


def multiplied(checkpoint: Checkpoint, text: Vectors, image: Vectors) -> tuple[Vectors, Vectors]:
    """Towers' outputs (B, dim), times their columns of the fusion's first layer."""
    weights, dim = checkpoint.state_dict["fusion.0.weight"].numpy(), text.shape[1]
    return text @ weights[:, :dim].T, image @ weights[:, dim : dim + image.shape[1]].T
