"""Loads encoder weights from a directory, the Hugging Face hub or torchvision, or generates them from a seed.

Seeded encoders have the shape and the cost of the pretrained ones. Their numbers are the same on every
processor, unlike torch's: they come from the raw bits of a counter-based generator by integer operations
and one rounding.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.checkpoint.file import CheckpointError
from model.config import TextConfig, VisionConfig
from model.network import TextEncoder, VisionEncoder

# TextConfig's fields by transformers' names.
BERT_NAMES = {name: name for name in ("vocab_size", "hidden_size", "intermediate_size", "layer_norm_eps")} | {
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "max_positions": "max_position_embeddings",
    "token_types": "type_vocab_size",
}

BERT_BASE_UNCASED = "bert-base-uncased"
BERT_BASE_UNCASED_REVISION = "86b5e0934494bd15c9632b12f734a8a67f723594"

BERT_STD = 0.02  # BERT's own initializer_range
# With BERT_STD everywhere, 97% of a random encoder's output is the same for every title. With larger
# attention and smaller position and feed-forward weights it is 28%, and differences between titles are far
# larger than the rounding errors of bfloat16 and int8. The first match wins.
TEXT_STDS = {
    "position_embeddings": 0.002,
    "token_type_embeddings": 0.002,
    "attention.self.value": 0.05,
    "attention.output.dense": 0.05,
    "intermediate.dense": 0.01,
    "output.dense": 0.01,
}
# Batch-norm's last gain in a residual block, so that the sum of sixteen blocks stays bounded.
RESIDUAL_GAIN = 0.25


class EncoderSourceError(CheckpointError):
    """Encoder weights that cannot be loaded; names the source, the cause and the next step."""


def pretrained_text_encoder(source: str = BERT_BASE_UNCASED) -> TextEncoder:
    """A BERT from a local directory, the Hugging Face cache or the hub. Raises `EncoderSourceError`."""
    import model.torchvision_compat  # noqa: F401  must precede every import of transformers

    from transformers import BertModel  # isort: skip  here, because it takes seconds

    revision = BERT_BASE_UNCASED_REVISION if source == BERT_BASE_UNCASED else "main"
    remedy = "Name a directory that `save_pretrained` wrote, or run where the hub can be reached."
    try:
        loaded: Any = BertModel.from_pretrained(
            source, revision=revision, add_pooling_layer=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as exc:
        # transformers raises OSError, ValueError, RuntimeError, safetensors' errors and more.
        raise EncoderSourceError(f"{source}: no BERT weights found ({_first_line(exc)}). {remedy}") from exc
    bert, loading = loaded
    if loading["missing_keys"]:
        # transformers would fill them with random numbers, different in each run.
        missing = sorted(loading["missing_keys"])
        raise EncoderSourceError(
            f"{source}: lacks {missing[0]} and {len(missing) - 1} more weights. {remedy}"
        )
    if bert.config.hidden_act != "gelu":
        raise EncoderSourceError(
            f"{source}: its activation is {bert.config.hidden_act}, expected gelu. {remedy}"
        )
    shape = {ours: getattr(bert.config, theirs) for ours, theirs in BERT_NAMES.items()}
    encoder = TextEncoder(TextConfig(**shape))
    encoder.bert.load_state_dict(bert.state_dict())
    return encoder.eval()


def pretrained_vision_encoder(weights: Path | None = None) -> VisionEncoder:
    """ResNet-50 from a torchvision state-dict file or download. Raises `EncoderSourceError`."""
    import model.torchvision_compat  # noqa: F401  must precede every import of torchvision

    from torchvision.models import ResNet50_Weights, resnet50  # isort: skip  here, because it takes seconds

    try:
        if weights is None:
            resnet = resnet50(weights=ResNet50_Weights.IMAGENET1K_V2)
        else:
            resnet = resnet50()
            resnet.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as exc:  # as above
        raise EncoderSourceError(
            f"{weights or 'torchvision'}: no ResNet-50 weights found ({_first_line(exc)}). "
            "Name a file with torchvision's resnet50 state dict."
        ) from exc
    encoder = VisionEncoder(VisionConfig())
    encoder.feature_extractor.load_state_dict(torch.nn.Sequential(*list(resnet.children())[:-1]).state_dict())
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
    """Uniform numbers with standard deviation `std`, from a separate stream per tensor.

    24 random bits become an odd integer in (-2^24, 2^24), exact in float32; the only rounding is in the
    product with the half width, as IEEE 754 defines it.
    """
    dimensions = tuple(shape)
    count = math.prod(dimensions)
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw((count + 1) // 2).view(np.uint32)[:count]
    odd = (words >> np.uint32(8)).astype(np.int32) * np.int32(2) - np.int32(2**24 - 1)
    half_width = np.float32(std * math.sqrt(3) / 2**24)
    return torch.from_numpy((odd.astype(np.float32) * half_width).reshape(dimensions))
