"""The layouts that checkpoints come in, translated into one: the owner's older files load too.

Nothing here trusts a flag. Which modalities a file serves, how deep its encoders are and how many scalars
its fusion takes follow from the names and shapes of its weights.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.encoders import IMAGENET_MEAN, IMAGENET_STD, TextConfig, VisionConfig
from model.fusion import FusionConfig

STATE_KEYS = ("model_state_dict", "state_dict")
WRAPPERS = ("module.", "_orig_mod.")  # DataParallel and torch.compile put these before every name
RESNET = "vision_encoder.resnet."
FEATURES = "vision_encoder.feature_extractor."
BERT = "text_encoder.bert."
# torchvision's resnet by attribute, and its position among the children of the Sequential.
RESNET_CHILDREN = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
# Buffers that older transformers saved; they are computed, not learned.
COMPUTED = ("text_encoder.bert.embeddings.position_ids", "text_encoder.bert.embeddings.token_type_ids")
HEAD_SIZE = 64  # every published BERT's hidden size divided by its attention heads


class LayoutError(Exception):
    """Contents in no layout that is known: says what was found and what was expected."""


def normalise_state_dict(contents: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights under this version's names, float32, and the other keys of the file.

    Accepts `{"model_state_dict": ...}`, `{"state_dict": ...}` and a bare state dict, each with or without a
    wrapper's prefix, with ResNet under `resnet.*`, under `feature_extractor.*`, or under both.
    Raises `LayoutError`.
    """
    if not isinstance(contents, dict):
        raise LayoutError(f"holds a {type(contents).__name__}, expected a dict with model_state_dict")
    key = next((key for key in STATE_KEYS if isinstance(contents.get(key), dict)), None)
    weights = contents[key] if key else contents
    metadata = {name: value for name, value in contents.items() if name != key} if key else {}
    found = sorted(str(name) for name, value in weights.items() if not isinstance(value, Tensor))
    if found or not weights:
        raise LayoutError(
            f"holds no state dict: found the keys {', '.join(found[:5]) or 'of an empty dict'}, "
            "expected model_state_dict, state_dict or tensors by name"
        )
    unwrapped = {_unwrap(str(name)): tensor for name, tensor in weights.items()}
    named = _one_resnet(unwrapped)
    return {
        name: _as_float32(name, tensor)
        for name, tensor in _with_batch_counters(named).items()
        if name not in COMPUTED
    }, metadata


def infer_config(state_dict: Mapping[str, Tensor], declared: Any = None) -> FusionConfig:
    """The architecture that the weights describe; `declared` adds what no shape tells (attention heads).

    Raises `LayoutError` naming what is missing or does not fit together.
    """
    declared = declared if isinstance(declared, Mapping) else {}
    text = _infer_text(state_dict, declared.get("text"))
    vision = _infer_vision(state_dict, declared.get("vision"))
    first, second = _matrix(state_dict, "fusion.0.weight"), _matrix(state_dict, "fusion.3.weight")
    encoded = text.output_dim + (vision.output_dim if vision else 0)
    scalars = first.shape[1] - encoded
    if scalars < 1:
        raise LayoutError(
            f"fusion.0.weight takes {first.shape[1]} inputs, its encoders alone give {encoded}; "
            "the fusion and the encoders are not of one network"
        )
    return FusionConfig(text=text, vision=vision, scalars=scalars, hidden=(first.shape[0], second.shape[0]))


def _unwrap(name: str) -> str:
    for wrapper in WRAPPERS:
        while name.startswith(wrapper):
            name = name.removeprefix(wrapper)
    return name


def _one_resnet(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`resnet.*` under its `feature_extractor.*` names; its ImageNet classifier has no use here."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name.startswith(RESNET + "fc."):
            continue
        target = _feature_extractor_name(name)
        if target in renamed and not torch.equal(renamed[target], tensor):
            raise LayoutError(f"{name} and {target} differ, expected one network under two names")
        renamed[target] = tensor
    return renamed


def _feature_extractor_name(name: str) -> str:
    if not name.startswith(RESNET):
        return name
    child, _, rest = name.removeprefix(RESNET).partition(".")
    if child not in RESNET_CHILDREN:
        raise LayoutError(f"{name} is no part of a ResNet; expected {', '.join(RESNET_CHILDREN)} or fc")
    return f"{FEATURES}{RESNET_CHILDREN[child]}.{rest}"


def _with_batch_counters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Batch-norm's counters are not used when scoring, and some exporters leave them out."""
    suffix = ".running_var"
    counters = [
        name.removesuffix(suffix) + ".num_batches_tracked" for name in weights if name.endswith(suffix)
    ]
    return {**{name: torch.tensor(0) for name in counters}, **weights}


def _as_float32(name: str, tensor: Tensor) -> Tensor:
    return tensor if name.endswith("num_batches_tracked") else tensor.to(torch.float32)


def _matrix(state_dict: Mapping[str, Tensor], name: str) -> Tensor:
    tensor = state_dict.get(name)
    if tensor is None:
        raise LayoutError(f"lacks {name}; expected the state_dict() of a MultimodalViralityPredictor")
    if tensor.ndim != 2:
        raise LayoutError(f"{name} has {tensor.ndim} dimensions, expected 2")
    return tensor


def _infer_text(state_dict: Mapping[str, Tensor], declared: Any) -> TextConfig:
    words = _matrix(state_dict, BERT + "embeddings.word_embeddings.weight")
    positions = _matrix(state_dict, BERT + "embeddings.position_embeddings.weight")
    types = _matrix(state_dict, BERT + "embeddings.token_type_embeddings.weight")
    layers = _count(state_dict, BERT + r"encoder\.layer\.(\d+)\.")
    wide = _matrix(state_dict, BERT + "encoder.layer.0.intermediate.dense.weight")
    hidden = words.shape[1]
    declared = declared if isinstance(declared, Mapping) else {}
    heads = declared.get("heads") or max(hidden // HEAD_SIZE, 1)
    if not isinstance(heads, int) or hidden % heads:
        raise LayoutError(f"text.heads is {heads!r}, expected a divisor of the hidden size, {hidden}")
    return TextConfig(
        vocab_size=words.shape[0],
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        intermediate_size=wide.shape[0],
        max_positions=positions.shape[0],
        token_types=types.shape[0],
        layer_norm_eps=float(declared.get("layer_norm_eps", TextConfig.layer_norm_eps)),
    )


def _infer_vision(state_dict: Mapping[str, Tensor], declared: Any) -> VisionConfig | None:
    if not any(name.startswith("vision_encoder.") for name in state_dict):
        return None
    block = "bottleneck" if FEATURES + "4.0.conv3.weight" in state_dict else "basic"
    stages = tuple(_count(state_dict, FEATURES + rf"{child}\.(\d+)\.") for child in (4, 5, 6, 7))
    declared = declared if isinstance(declared, Mapping) else {}
    return VisionConfig(
        block=block,
        stages=stages,
        height=int(declared.get("height", VisionConfig.height)),
        width=int(declared.get("width", VisionConfig.width)),
        mean=tuple(declared.get("mean", IMAGENET_MEAN)),
        std=tuple(declared.get("std", IMAGENET_STD)),
    )


def _count(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbered children `pattern` finds; they must count from 0 without a gap."""
    numbers = {int(match[1]) for name in state_dict if (match := re.match(pattern, name))}
    if not numbers or numbers != set(range(len(numbers))):
        raise LayoutError(f"has the layers {sorted(numbers)} of {pattern}, expected 0, 1, 2, ...")
    return len(numbers)
