"""What a service needs to know of a model besides running it: every number that affects an answer.

A checkpoint and a compiled bundle both give this card, so that whoever serves cannot tell them apart. Plain
values only; knows no tensors.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from model.config import FusionConfig
from model.velocity import Velocity, velocity_from


@dataclass(frozen=True)
class ModelCard:
    """One model's account of itself. `sha256` is that of the checkpoint, whatever serves it."""

    name: str
    sha256: str
    config: FusionConfig
    scalar_features: tuple[str, ...]
    feature_stats: dict[str, dict[str, float | None]]
    velocity: Velocity
    temperature: float | None
    text_fields: tuple[str, ...]
    max_tokens: int
    parameters: dict[str, int]
    """Learned numbers: `total`, `trainable` (the head) and `frozen` (the encoders)."""
    zero_weight_modalities: tuple[str, ...]
    """Modalities whose columns of the fusion are all zero: read, and without any say in a score."""
    test_metrics: dict[str, Any]
    golden: dict[str, Any]
    provenance: dict[str, Any]
    distributions: dict[str, Any] = field(default_factory=dict)
    """How features and score were distributed in training; empty in what was trained before this was kept."""
    titles: dict[str, Any] = field(default_factory=dict)
    """What the training titles were like: `mean_vector` (text_dim,), `scripts` by share; either may lack."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ModelCard":
        """The card that `to_dict` wrote. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        tuples = ("scalar_features", "text_fields", "zero_weight_modalities")
        return cls(
            **{
                **values,
                **{key: tuple(values[key]) for key in tuples},
                "config": FusionConfig.from_dict(values["config"]),
                "velocity": velocity_from(values["velocity"]),
            }
        )
