"""The model that scores: its engine, and everything built from its card."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features import Distribution, FeatureScaler
from model.card import ModelCard
from model.engine import Engine
from preprocessing.image import ImageSpec
from preprocessing.text import BertTextTokenizer

RELEASE = "miles-v1.0"


@dataclass(frozen=True)
class LoadedModel:
    """A model and what was built from its card; nothing in it changes any more."""

    card: ModelCard
    engine: Engine
    tokenizer: BertTextTokenizer
    scaler: FeatureScaler
    fidelity: dict[str, Any] | None
    """How far the engine is from the float32 reference; None for an engine that is not compiled."""
    image_spec: ImageSpec | None
    """The pixels that the image tower takes; None when the network has no image tower."""
    distributions: dict[str, Distribution] = field(default_factory=dict)
    """How features and score were distributed in training; empty where the checkpoint does not say."""
    mean_text: NDArray[np.float32] | None = None
    """The mean vector of the training titles, (text_dim,); None where the checkpoint does not say."""
    scripts: dict[str, float] = field(default_factory=dict)
    """The share of the training titles by script; empty where the checkpoint does not say."""

    @property
    def version(self) -> str:
        """What answers call the model: the release of the code, and which checkpoint."""
        return f"{RELEASE}+{self.card.sha256[:8]}"

    @cached_property
    def fingerprint(self) -> str:
        """What decides a tower's output besides its input: vectors of another fingerprint are not ours."""
        return fingerprint_of(self.card, self.engine, self.fidelity)


def fingerprint_of(card: ModelCard, engine: Engine, fidelity: dict[str, Any] | None) -> str:
    """The fingerprint of a model that `engine` runs."""
    account = json.dumps(fidelity, sort_keys=True)  # with what was measured: each bundle has its own
    bundle = hashlib.sha256(account.encode()).hexdigest()
    return f"{card.sha256}/{engine.name}/{engine.device}/{engine.precision}/{bundle}"
