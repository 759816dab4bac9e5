"""The frozen encoders that a head is fitted on, with the origin of their weights."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from model.card import TextEncoderInfo
from model.checkpoint.store import Checkpoint
from model.config import FusionConfig, Pooling, TextConfig, VisionConfig
from model.demo_checkpoint import GROWN, SEEDED, prefixed
from model.minilm import NAME, PACKAGE, SHA256, grown_minilm
from model.network import TextEncoder
from model.pretrained import (
    BERT_BASE_UNCASED,
    BERT_BASE_UNCASED_REVISION,
    EncoderSourceError,
    pretrained_text_encoder,
    pretrained_vision_encoder,
    random_text_state,
    random_vision_state,
)
from preprocessing.image import AS_SEEN, ImageReading
from preprocessing.text import BertTextTokenizer

RANDOM = "random"
MINILM = "minilm"
IMAGENET = "imagenet"
SENTENCE_POOLING = "1_Pooling/config.json"  # sentence-transformers' name


@dataclass(frozen=True)
class Encoders:
    """Both encoders' weights under the whole network's names, its architecture, and their origin."""

    config: FusionConfig
    state_dict: dict[str, Tensor] = field(repr=False)
    provenance: dict[str, Any]
    reading: ImageReading = AS_SEEN
    """How the image files are read."""

    @property
    def are_composable(self) -> bool:
        """Whether both can be recreated without a stored copy: from a seed, or by growing MiniLM."""
        return all("seed" in origin or origin["kind"] == GROWN for origin in self.provenance.values())

    @property
    def text(self) -> TextEncoderInfo:
        """What the model's card says about the text encoder."""
        origin = self.provenance["text"]
        if "seed" in origin:
            return TextEncoderInfo(kind="random", name=SEEDED, understands=False)
        is_language = origin.get("start") != SEEDED  # view counts teach a random encoder no language
        return TextEncoderInfo(kind=origin["kind"], name=origin["source"], understands=is_language)


def random_encoders(
    seed: int, text: TextConfig | None = None, vision: VisionConfig | None = None
) -> Encoders:
    """Seeded random encoders; by default BERT-base's and ResNet-50's exact shapes."""
    return _encoders(_random_text(seed, text or TextConfig()), _random_vision(seed, vision or VisionConfig()))


def open_encoders(
    text_source: str | None,
    image_source: str | None,
    seed: int,
    pooling: Pooling | None = None,
    *,
    half_scale: bool = False,
) -> Encoders:
    """Encoders by name: `random` (also None), `minilm` (grown to BERT-base's shape), a BERT directory or hub
    name; and `random`, `imagenet` or a ResNet-50 file.

    `pooling` None uses the setting in a sentence encoder's directory, else BERT's pooler. With `half_scale`
    large JPEGs are decoded at half their size. Raises `EncoderSourceError`.
    """
    text_source, image_source = text_source or RANDOM, image_source or RANDOM
    if text_source == RANDOM:
        text = _random_text(seed, TextConfig())
    elif text_source == MINILM:
        text = _grown_text()
    else:
        text = _pretrained_text(text_source, pooling)
    vision = (
        _random_vision(seed, VisionConfig()) if image_source == RANDOM else _pretrained_vision(image_source)
    )
    encoders = _encoders(text, vision)
    return replace(encoders, reading=replace(AS_SEEN, scale="half")) if half_scale else encoders


Text = tuple[TextConfig, dict[str, Tensor], dict[str, Any]]
Vision = tuple[VisionConfig, dict[str, Tensor], dict[str, Any]]


def encoders_of(checkpoint: Checkpoint) -> Encoders:
    """The encoders of a checkpoint, to fit another head on."""
    card, prefixes = checkpoint.card, ("text_encoder.", "vision_encoder.")
    weights = {name: value for name, value in checkpoint.state_dict.items() if name.startswith(prefixes)}
    unknown = {name: {"kind": "pretrained", "source": card.name} for name in ("text", "image")}
    origin = card.provenance.get("encoders")
    if isinstance(origin, dict) and {"text", "image"} <= origin.keys():
        return Encoders(card.config, weights, origin)
    return Encoders(card.config, weights, unknown)


def _encoders(text: Text, vision: Vision) -> Encoders:
    return Encoders(
        config=FusionConfig(text=text[0], vision=vision[0]),
        state_dict={**prefixed("text_encoder.", text[1]), **prefixed("vision_encoder.", vision[1])},
        provenance={"text": text[2], "image": vision[2]},
    )


def _random_text(seed: int, config: TextConfig) -> Text:
    origin = {"kind": SEEDED, "seed": seed, "shape": asdict(config)}
    return config, random_text_state(config, seed), origin


def _grown_text() -> Text:
    config, state = grown_minilm()
    origin = {"kind": GROWN, "source": NAME, "package": PACKAGE, "sha256": SHA256, "shape": asdict(config)}
    return config, state, origin


def _random_vision(seed: int, config: VisionConfig) -> Vision:
    shape = {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()
    }
    origin = {"kind": SEEDED, "seed": seed, "shape": shape}
    return config, random_vision_state(config, seed), origin


def _pretrained_text(source: str, pooling: Pooling | None) -> Text:
    encoder: TextEncoder = pretrained_text_encoder(source)
    config = replace(encoder.config, pooling=pooling or pooling_of(Path(source)))
    words = BertTextTokenizer.from_vocabulary().vocabulary_size
    if config.vocab_size != words:
        raise EncoderSourceError(
            f"{source}: has {config.vocab_size} tokens, the committed vocabulary has {words}. Use a "
            "BERT-family encoder with bert-base-uncased's vocabulary."
        )
    origin = {"kind": "pretrained", "source": Path(source).name, "shape": asdict(config)}
    if source == BERT_BASE_UNCASED:
        origin["revision"] = BERT_BASE_UNCASED_REVISION
    return config, encoder.state_dict(), origin


def pooling_of(directory: Path) -> Pooling:
    """`mean` if sentence-transformers' config next to the weights says so, else `pooler`.

    Raises `EncoderSourceError` for a pooling that this network does not have.
    """
    try:
        pooling = json.loads((directory / SENTENCE_POOLING).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "pooler"
    except (OSError, ValueError) as exc:
        raise EncoderSourceError(f"{directory / SENTENCE_POOLING}: cannot be read ({exc})") from exc
    modes = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on is True]
    if modes != ["pooling_mode_mean_tokens"]:
        raise EncoderSourceError(
            f"{directory / SENTENCE_POOLING}: has {', '.join(modes) or 'no pooling mode'}, expected the "
            "mean of "
            "the tokens. Use --text-pooling pooler or mean to override it."
        )
    return "mean"


def _pretrained_vision(source: str) -> Vision:
    encoder = pretrained_vision_encoder(None if source == IMAGENET else Path(source))
    name = "torchvision ResNet50_Weights.IMAGENET1K_V2" if source == IMAGENET else Path(source).name
    return encoder.config, encoder.state_dict(), {"kind": "pretrained", "source": name}
