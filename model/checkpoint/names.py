"""This network's names for weights that wrappers or other attributes name differently. Imports no torch."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from model.checkpoint.inert import is_tensor

STATE_KEYS = ("model_state_dict", "state_dict", "model", "network", "net", "ema", "ema_state_dict")
BERT = "text_encoder.bert."
FEATURES = "vision_encoder.feature_extractor."
RESNET = "vision_encoder.resnet."
# Prefixes of DataParallel, torch.compile and a Lightning module's attribute.
WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.|model\.|network\.|net\.)+")
# An encoder that is an attribute of the network itself, or of an attribute with another name.
ATTRIBUTES = (
    (re.compile(r"^(?:text_encoder\.|bert\.)(?=(?:embeddings|encoder|pooler)\.)"), BERT),
    (re.compile(r"^(?:vision_encoder\.|image_encoder\.)?resnet\."), RESNET),
    (re.compile(r"^(?:vision_encoder|image_encoder)\.(?=(?:conv1|bn1|layer[1-4]|fc)\.)"), RESNET),
    (re.compile(r"^image_encoder\."), "vision_encoder."),
)
# torchvision's ResNet attributes and their positions in the Sequential.
RESNET_CHILDREN = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
# Buffers that older releases of transformers saved; they are computed, not learned.
COMPUTED = (BERT + "embeddings.position_ids", BERT + "embeddings.token_type_ids")


FUSIONS = ("fusion.0.weight", "mlp.0.weight")  # where a network's head begins


class LayoutError(Exception):
    """Contents in an unknown layout; the message has what was found and what was expected."""


def find_weights(contents: Mapping[Any, Any]) -> tuple[Any, Mapping[Any, Any]]:
    """The key of a file's weights, None where they are the file itself, and the weights.

    They are under the first of `STATE_KEYS` that holds tensors, or under the only other key that holds a
    network with its head. Raises `LayoutError` for several of those.
    """
    known = {key: found for key in STATE_KEYS if (found := _tensors(contents.get(key))) is not None}
    if known or any(map(_is_weight, contents.values())):
        return next(iter(known.items()), (None, contents))
    others = {key: found for key, value in contents.items() if (found := _tensors(value)) is not None}
    heads = {
        key: found for key, found in others.items() if any(str(name).endswith(FUSIONS) for name in found)
    }
    if len(heads) > 1:
        raise LayoutError(
            f"holds weights under {' and '.join(map(str, heads))}; save one of them as model_state_dict"
        )
    if heads:
        return next(iter(heads.items()))
    key = next((key for key in STATE_KEYS if isinstance(contents.get(key), Mapping)), None)
    return key, contents if key is None else contents[key]


def other_keys(contents: Any) -> dict[Any, Any]:
    """The contents of a file other than its weights."""
    if not isinstance(contents, Mapping):
        return {}
    key, _ = find_weights(contents)
    return {} if key is None else {name: value for name, value in contents.items() if name != key}


def _tensors(value: Any) -> Mapping[Any, Any] | None:
    """The tensors of a state dict or of a pickled module."""
    if not isinstance(value, Mapping):
        return None
    inner = value.get("state_dict")
    found: Mapping[Any, Any] = inner if isinstance(inner, Mapping) else value
    return found if any(map(_is_weight, found.values())) else None


def _is_weight(value: Any) -> bool:
    return is_tensor(value) or isinstance(value, np.ndarray)


def own_name(name: str) -> str | None:
    """The name of a weight in this network; None for ResNet's ImageNet classifier and for computed buffers.

    Raises `LayoutError`.
    """
    name = WRAPPERS.sub("", name)
    for pattern, prefix in ATTRIBUTES:
        name = pattern.sub(prefix, name)
    if name in COMPUTED:
        return None
    if not name.startswith(RESNET):
        return name
    child, _, rest = name.removeprefix(RESNET).partition(".")
    if child == "fc":
        return None
    if child not in RESNET_CHILDREN:
        raise LayoutError(f"{name} is not part of a ResNet; expected {', '.join(RESNET_CHILDREN)} or fc")
    return f"{FEATURES}{RESNET_CHILDREN[child]}.{rest}"
