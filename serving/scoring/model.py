"""A model ready to score: its engine, and everything built from its card."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from features import Distribution, FeatureScaler
from model import VERSION
from model.card import ModelCard
from model.engine import Engine
from preprocessing.image import ImageSpec
from preprocessing.text import BertTextTokenizer

RELEASE = f"miles-v{VERSION.rpartition('.')[0]}"


@dataclass(frozen=True)
class LoadedModel:
    """An engine and everything built from the model's card. Immutable."""

    card: ModelCard
    engine: Engine
    tokenizer: BertTextTokenizer
    scaler: FeatureScaler
    fidelity: dict[str, Any] | None
    """The compiled engine's deviation from the float32 reference; None for torch."""
    image_spec: ImageSpec | None
    """The image tower's input; None if the network has no image tower."""
    distributions: dict[str, Distribution] = field(default_factory=dict)
    """Of features and score in training; empty if the checkpoint has none."""
    bundle_sha256: str | None = None
    """The digest of the compiled bundle's manifest; None for torch."""
    scripts: dict[str, float] = field(default_factory=dict)
    """The share of each script in the training titles; empty if the checkpoint has none."""

    @cached_property
    def version(self) -> str:
        """The release of the code and the checkpoint's hash, as in every answer."""
        return f"{RELEASE}+{self.card.sha256[:8]}"

    @cached_property
    def fingerprint(self) -> str:
        """Identifies all that determines a tower's output except its input; part of every cache key."""
        return fingerprint_of(self.card, self.engine, self.fidelity)


def fingerprint_of(card: ModelCard, engine: Engine, fidelity: dict[str, Any] | None) -> str:
    """The fingerprint of a model that `engine` runs."""
    # The fidelity report holds measurements, so it differs between two compilations of one checkpoint.
    bundle = hashlib.sha256(json.dumps(fidelity, sort_keys=True).encode()).hexdigest()
    return f"{card.sha256}/{engine.name}/{engine.device}/{engine.precision}/{bundle}"
