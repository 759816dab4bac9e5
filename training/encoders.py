"""The frozen encoders that a head is fitted on, with the record of where their weights came from."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from model.config import FusionConfig, TextConfig, VisionConfig
from model.demo import prefixed
from model.encoders import TextEncoder, text_config
from model.pretrained import (
    BERT_BASE_UNCASED,
    BERT_BASE_UNCASED_REVISION,
    EncoderSourceError,
    pretrained_text_encoder,
    pretrained_vision_encoder,
    random_text_state,
    random_vision_state,
)
from preprocessing.text import BertTextTokenizer

RANDOM = "random"
IMAGENET = "imagenet"


@dataclass(frozen=True)
class Encoders:
    """Both encoders' weights under the whole network's names, its architecture, and their origin."""

    config: FusionConfig
    state_dict: dict[str, Tensor] = field(repr=False)
    provenance: dict[str, Any]

    @property
    def are_random(self) -> bool:
        """Whether both can be drawn again from their seeds."""
        return all("seed" in origin for origin in self.provenance.values())


def random_encoders(
    seed: int, text: TextConfig | None = None, vision: VisionConfig | None = None
) -> Encoders:
    """Seeded random encoders; by default BERT-base's and ResNet-50's exact shapes."""
    return _encoders(_random_text(seed, text or TextConfig()), _random_vision(seed, vision or VisionConfig()))


def open_encoders(text_source: str, image_source: str, seed: int) -> Encoders:
    """Encoders by name: `random`, a BERT directory or hub name; `random`, `imagenet` or a ResNet-50 file.

    Raises `EncoderSourceError`.
    """
    text = _random_text(seed, TextConfig()) if text_source == RANDOM else _pretrained_text(text_source)
    vision = (
        _random_vision(seed, VisionConfig()) if image_source == RANDOM else _pretrained_vision(image_source)
    )
    return _encoders(text, vision)


Text = tuple[TextConfig, dict[str, Tensor], dict[str, Any]]
Vision = tuple[VisionConfig, dict[str, Tensor], dict[str, Any]]


def _encoders(text: Text, vision: Vision) -> Encoders:
    return Encoders(
        config=FusionConfig(text=text[0], vision=vision[0]),
        state_dict={**prefixed("text_encoder.", text[1]), **prefixed("vision_encoder.", vision[1])},
        provenance={"text": text[2], "image": vision[2]},
    )


def _random_text(seed: int, config: TextConfig) -> Text:
    origin = {"kind": "seeded random", "seed": seed, "shape": asdict(config)}
    return config, random_text_state(config, seed), origin


def _random_vision(seed: int, config: VisionConfig) -> Vision:
    shape = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()
    }
    origin = {"kind": "seeded random", "seed": seed, "shape": shape}
    return config, random_vision_state(config, seed), origin


def _pretrained_text(source: str) -> Text:
    encoder: TextEncoder = pretrained_text_encoder(source)
    config = text_config(encoder.bert.config)
    words = BertTextTokenizer.from_vocabulary().vocabulary_size
    if config.vocab_size != words:
        raise EncoderSourceError(
            f"{source}: knows {config.vocab_size} tokens, the committed vocabulary has {words}. Name a "
            "BERT-family encoder over bert-base-uncased's vocabulary."
        )
    origin = {"kind": "pretrained", "source": Path(source).name, "shape": asdict(config)}
    if source == BERT_BASE_UNCASED:
        origin["revision"] = BERT_BASE_UNCASED_REVISION
    return config, encoder.state_dict(), origin


def _pretrained_vision(source: str) -> Vision:
    encoder = pretrained_vision_encoder(None if source == IMAGENET else Path(source))
    name = "torchvision ResNet50_Weights.IMAGENET1K_V2" if source == IMAGENET else Path(source).name
    return encoder.config, encoder.state_dict(), {"kind": "pretrained", "source": name}
