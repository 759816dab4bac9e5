"""Where encoder weights come from: a local directory, the Hugging Face hub, torchvision, or a seed.

The seeded encoders have the exact shape, and so the exact cost, of the pretrained ones. They are drawn
from the raw bits of a counter-based generator with integer and single-rounding float operations alone:
torch's normal fill differs between processors, these numbers do not.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.config import TextConfig, VisionConfig
from model.network import TextEncoder, VisionEncoder, text_config

from torchvision.models import ResNet50_Weights, resnet50  # isort: skip
from transformers import BertModel  # isort: skip

BERT_BASE_UNCASED = "bert-base-uncased"
BERT_BASE_UNCASED_REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"

BERT_STD = 0.02  # BERT's own initializer_range
# With BERT's own spread everywhere, 97 % of a random encoder's output is the same for every title. With
# louder attention, quieter positions and quieter feed-forward layers it is 28 %: what tells titles apart
# is then far larger than what rounding to bfloat16 or int8 takes away. The first match wins.
TEXT_STDS = {
    "position_embeddings": 0.002,
    "token_type_embeddings": 0.002,
    "attention.self.value": 0.05,
    "attention.output.dense": 0.05,
    "intermediate.dense": 0.01,
    "output.dense": 0.01,
}
# Batch-norm's last gain in a residual block: sixteen blocks that add up must not grow without bound.
RESIDUAL_GAIN = 0.25


class EncoderSourceError(Exception):
    """Encoder weights that cannot be had: names the source, the cause and the next step."""


def pretrained_text_encoder(source: str = BERT_BASE_UNCASED) -> TextEncoder:
    """BERT from a local directory, the Hugging Face cache or the hub; any BERT-family model will do.

    bert-base-uncased is pinned to one revision. Raises `EncoderSourceError`.
    """
    revision = BERT_BASE_UNCASED_REVISION if source == BERT_BASE_UNCASED else "main"
    remedy = "Name a directory that `save_pretrained` wrote, or run where the hub can be reached."
    try:
        loaded: Any = BertModel.from_pretrained(
            source, revision=revision, add_pooling_layer=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as exc:
        # Depending on what is missing or damaged, transformers raises OSError, ValueError, RuntimeError,
        # safetensors' own error and more; all of them mean that this source cannot be used.
        raise EncoderSourceError(f"{source}: no BERT weights there ({_first_line(exc)}). {remedy}") from exc
    bert, loading = loaded
    if loading["missing_keys"]:
        # transformers fills them at random: a model without a pooler would score noise, differently each run.
        missing = sorted(loading["missing_keys"])
        raise EncoderSourceError(
            f"{source}: lacks {missing[0]} and {len(missing) - 1} more weights. {remedy}"
        )
    if bert.config.hidden_act != "gelu":
        raise EncoderSourceError(
            f"{source}: its activation is {bert.config.hidden_act}, checkpoints hold BERT's, gelu. {remedy}"
        )
    encoder = TextEncoder(text_config(bert.config))
    encoder.bert = bert
    return encoder.eval()


def pretrained_vision_encoder(weights: Path | None = None) -> VisionEncoder:
    """ResNet-50 with ImageNet weights: from a torchvision state-dict file, or torchvision's download.

    Raises `EncoderSourceError`.
    """
    try:
        if weights is None:
            resnet = resnet50(weights=ResNet50_Weights.IMAGENET1K_V2)
        else:
            resnet = resnet50()
            resnet.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as exc:  # as above: whatever a damaged file makes torch raise
        raise EncoderSourceError(
            f"{weights or 'torchvision'}: no ResNet-50 weights there ({_first_line(exc)}). "
            "Name a file with torchvision's resnet50 state dict."
        ) from exc
    encoder = VisionEncoder(VisionConfig())
    encoder.feature_extractor = torch.nn.Sequential(*list(resnet.children())[:-1])
    return encoder.eval()


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).splitlines()), type(exc).__name__)


def random_text_state(config: TextConfig, seed: int) -> dict[str, Tensor]:
    """Seeded weights for `TextEncoder(config)` under its own names; biases 0, norms 1."""
    with torch.device("meta"):
        shapes = TextEncoder(config).state_dict()
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith("bias"):
            state[name] = torch.zeros(shape.shape)
        elif "LayerNorm" in name:
            state[name] = torch.ones(shape.shape)
        else:
            state[name] = _draw(f"text_encoder.{name}", shape.shape, _text_std(name), seed)
    return state


def _text_std(name: str) -> float:
    return next((std for part, std in TEXT_STDS.items() if part in name), BERT_STD)


def random_vision_state(config: VisionConfig, seed: int) -> dict[str, Tensor]:
    """Seeded weights for `VisionEncoder(config)` under its own names: He et al. 2015, fan out."""
    with torch.device("meta"):
        shapes = VisionEncoder(config).state_dict()
    last_norm = "bn3.weight" if config.block == "bottleneck" else "bn2.weight"
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if shape.ndim == 4:
            fan_out = shape.shape[0] * shape.shape[2] * shape.shape[3]
            state[name] = _draw(f"vision_encoder.{name}", shape.shape, math.sqrt(2 / fan_out), seed)
        elif name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
        elif name.endswith(last_norm):
            state[name] = torch.full(shape.shape, RESIDUAL_GAIN)
        elif name.endswith(("weight", "running_var")):
            state[name] = torch.ones(shape.shape)
        else:
            state[name] = torch.zeros(shape.shape)
    return state


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """sha256 over every tensor's name, shape and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def _draw(name: str, shape: Iterable[int], std: float, seed: int) -> Tensor:
    """Uniform numbers with standard deviation `std`; each tensor has a stream of its own.

    24 random bits become an odd integer in (-2^24, 2^24), exact in float32; the one rounding is the
    product with the half width, which IEEE 754 fixes.
    """
    dimensions = tuple(shape)
    count = math.prod(dimensions)
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw((count + 1) // 2).view(np.uint32)[:count]
    odd = (words >> np.uint32(8)).astype(np.int32) * np.int32(2) - np.int32(2**24 - 1)
    half_width = np.float32(std * math.sqrt(3) / 2**24)
    return torch.from_numpy((odd.astype(np.float32) * half_width).reshape(dimensions))
