"""Translates the layouts that checkpoints come in, the owner's older ones included, into one.

Modalities, depths and the number of scalars follow from the names and shapes of the weights, never from
flags.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from model.checkpoint.heads import usual_head
from model.checkpoint.inert import Inert
from model.checkpoint.names import BERT, FEATURES, STATE_KEYS, LayoutError, find_weights, other_keys, own_name
from model.config import FusionConfig
from model.values import problem, short_repr

COUNTER = ".num_batches_tracked"
AVERAGED = "n_averaged"  # the counter of torch's AveragedModel
# Of Google's BERTs from tiny to large; other families differ (MiniLM: 32).
HEAD_SIZE = 64
KNOWN_HIDDEN_SIZES = (128, 256, 512, 768, 1024)
MAX_SCALARS = 100  # more inputs than that come from an encoder
MAX_GROUPS = 5  # of names, in an error
MAX_NAME = 40
EXPECTED = (
    "fusion.0.weight (1024 x inputs), fusion.3.weight (256 x 1024), classifier.weight (2 x 256), "
    "regressor.weight (1 x 256), text_encoder.bert.* where it reads text, and "
    "vision_encoder.feature_extractor.* where it reads images"
)
CONFIG_ACTIVATIONS = ("activation", "fusion_activation", "activation_fn")
OTHER_ACTIVATIONS = (
    "gelu",
    "silu",
    "swish",
    "tanh",
    "elu",
    "selu",
    "leaky_relu",
    "leakyrelu",
    "mish",
    "prelu",
)
CONFIG = TypeAdapter(FusionConfig)  # 7 ms to build
# Values that no shape shows and a file may declare.
DECLARED = {"text": ("heads", "layer_norm_eps", "pooling"), "vision": ("height", "width", "mean", "std")}


def normalise_state_dict(contents: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights under this version's names, float32, and the other keys of the file.

    Accepts a state dict, a pickled module, and a dict with either (`find_weights`), each with or without a
    wrapper's prefix, with ResNet under `resnet.*`, under `feature_extractor.*`, or under both. The other keys
    include `weights_from`, the key that held the weights if it is unusual, and `read_as`, sentences about
    other names and layers. Raises `LayoutError`.
    """
    if not isinstance(contents, dict):
        raise LayoutError(f"holds a {type(contents).__name__}, expected a dict with model_state_dict")
    key, weights = find_weights(contents)
    metadata = other_keys(contents)
    for holder in (metadata, contents.get(key)):
        _check_activations(holder)
    if key is not None and key not in STATE_KEYS[:2]:
        metadata["weights_from"] = str(key)
    weights = {
        name: torch.from_numpy(value)
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
        else value
        for name, value in weights.items()
        if name != AVERAGED
    }
    for name, value in weights.items():
        if isinstance(value, Inert) and value.origin.startswith("torch."):  # a sparse or quantised tensor
            raise LayoutError(f"{name} is a {value.origin}, expected dense real numbers")
    found = sorted(str(name) for name, value in weights.items() if not isinstance(value, Tensor))
    if found or not weights:
        raise LayoutError(
            f"holds no state dict: found {short_repr(found) if found else 'an empty dict'}, "
            f"expected model_state_dict, state_dict or tensors by name: {EXPECTED}. "
            f"It holds {outline(weights)}"
        )
    named = _one_name_each({str(name): _dense(str(name), tensor) for name, tensor in weights.items()})
    named, notes = usual_head(named)
    return _with_batch_counters(named), {**metadata, **({"read_as": notes} if notes else {})}


def _check_activations(holder: Any) -> None:
    """Refuse a head with other activations, which a pickled module or a config names but no weight shows."""
    if not isinstance(holder, Mapping):
        return
    found = {}
    if "module" in holder and isinstance(holder.get("activations"), Mapping):
        places = holder["activations"].items()
        found = {place: kind for place, kind in places if place.split(".")[-2:-1] in (["fusion"], ["mlp"])}
    config = holder.get("config")
    for name in CONFIG_ACTIVATIONS:
        if isinstance(config, Mapping) and str(config.get(name)).lower() in OTHER_ACTIVATIONS:
            found[f"config.{name}"] = config[name]
    for place, kind in found.items():
        if str(kind).lower() != "relu":
            raise LayoutError(
                f"{place} is {short_repr(kind)}, expected ReLU, which this network computes its scores with"
            )


def infer_config(state_dict: Mapping[str, Tensor], declared: Any = None) -> FusionConfig:
    """The architecture that the weights describe; `declared` adds what no shape shows (attention heads).

    Raises `LayoutError`.
    """
    first, second = _matrix(state_dict, "fusion.0.weight"), _matrix(state_dict, "fusion.3.weight")
    text, vision = _infer_text(state_dict, declared), _infer_vision(state_dict, declared)
    shape = {"text": text, "vision": vision, "hidden": (first.shape[0], second.shape[0])}
    try:
        config = CONFIG.validate_python(shape)
    except ValidationError as exc:
        raise LayoutError(f"config.{problem(exc)[1]}") from exc
    encoded = config.text_dim + config.image_dim
    if first.shape[1] <= encoded:
        raise LayoutError(
            f"fusion.0.weight takes {first.shape[1]} inputs, its encoders alone give {encoded}; "
            "the fusion and the encoders are from different networks"
        )
    if first.shape[1] - encoded > MAX_SCALARS:
        lacking = " and ".join(name for name, tower in (("text", text), ("image", vision)) if tower is None)
        raise LayoutError(
            f"fusion.0.weight takes {first.shape[1]} inputs, of which {encoded} come from its encoders, and "
            f"the file has no {lacking or 'other'} encoder. Save the whole model's state_dict(). "
            f"It holds {outline(state_dict)}"
        )
    return config.with_scalars(first.shape[1] - encoded)


def _declared(declared: Any, part: str) -> dict[str, Any]:
    """What a file's `config` adds; older files hold names instead of dicts there."""
    values = declared.get(part) if isinstance(declared, Mapping) else None
    known = values if isinstance(values, Mapping) else {}
    return {key: known[key] for key in DECLARED[part] if key in known}


def _dense(name: str, tensor: Tensor) -> Tensor:
    """The tensor in the type that the network computes in, checked to be dense and complete."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.is_meta:
        raise LayoutError(f"{name} is {tensor.dtype}, {tensor.layout}; expected dense real numbers")
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise LayoutError(f"{name} is {tuple(tensor.shape)}, but holds fewer numbers than that")
    return tensor.to(torch.int64 if name.endswith(COUNTER) else torch.float32)


def _one_name_each(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Every weight under this version's name, without computed buffers and unused weights."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        target = own_name(name)
        if target is None:
            continue
        if target in renamed and not torch.equal(renamed[target], tensor):
            raise LayoutError(f"{name} and {target} differ, expected one network under two names")
        renamed[target] = tensor
    return renamed


def _with_batch_counters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """With batch-norm's counters, which some exporters leave out; scoring does not use them."""
    suffix = ".running_var"
    counters = [name.removesuffix(suffix) + COUNTER for name in weights if name.endswith(suffix)]
    return {**{name: torch.tensor(0) for name in counters}, **weights}


def _matrix(state_dict: Mapping[str, Tensor], name: str) -> Tensor:
    tensor = state_dict.get(name)
    if tensor is None:
        raise LayoutError(
            f"lacks {name}; expected the state_dict() of a MultimodalViralityPredictor: {EXPECTED}. "
            f"It holds {outline(state_dict)}"
        )
    if tensor.ndim != 2 or not tensor.numel():
        raise LayoutError(f"{name} is {tuple(tensor.shape)}, expected a matrix")
    return tensor


def _infer_text(state_dict: Mapping[str, Tensor], declared: Any) -> dict[str, Any] | None:
    if not any(name.startswith("text_encoder.") for name in state_dict):
        return None
    words = _matrix(state_dict, BERT + "embeddings.word_embeddings.weight")
    positions = _matrix(state_dict, BERT + "embeddings.position_embeddings.weight")
    types = _matrix(state_dict, BERT + "embeddings.token_type_embeddings.weight")
    layers = _count(state_dict, BERT + "encoder.layer.")
    wide = _matrix(state_dict, BERT + "encoder.layer.0.intermediate.dense.weight")
    given, hidden = _declared(declared, "text"), words.shape[1]
    return {
        **given,
        "vocab_size": words.shape[0],
        "hidden_size": hidden,
        "layers": layers,
        "heads": _heads(hidden, given.get("heads")),
        "intermediate_size": wide.shape[0],
        "max_positions": positions.shape[0],
        "token_types": types.shape[0],
    }


def _heads(hidden: int, declared: Any) -> Any:
    """The number of attention heads, which no shape shows and which changes every score."""
    if declared is None and hidden in KNOWN_HIDDEN_SIZES:
        return hidden // HEAD_SIZE
    if declared is None or (type(declared) is int and declared > 0 and hidden % declared):
        raise LayoutError(
            f"config.text.heads is {declared}, expected the number of attention heads, a divisor of its "
            f"hidden size {hidden}; add it to config"
        )
    return declared


def _infer_vision(state_dict: Mapping[str, Tensor], declared: Any) -> dict[str, Any] | None:
    if not any(name.startswith("vision_encoder.") for name in state_dict):
        return None
    return {
        **_declared(declared, "vision"),
        "block": "bottleneck" if FEATURES + "4.0.conv3.weight" in state_dict else "basic",
        "stages": tuple(_count(state_dict, f"{FEATURES}{child}.") for child in (4, 5, 6, 7)),
    }


def _count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """The number of numbered children of `prefix`, which must count from 0 without a gap."""
    pattern = re.compile(re.escape(prefix) + r"(\d{1,4})\.")
    numbers = {int(match[1]) for name in state_dict if (match := pattern.match(name))}
    if not numbers or numbers != set(range(len(numbers))):
        raise LayoutError(
            f"numbers its layers {short_repr(sorted(numbers))} under {prefix}, expected 0, 1, 2, ... "
            f"It holds {outline(state_dict)}"
        )
    return len(numbers)


def outline(contents: Mapping[Any, Any]) -> str:
    """The names in `contents` by their first part, with the number of entries and the first one's shape."""
    groups: dict[str, list[Any]] = {}
    for name in contents:
        groups.setdefault(str(name).partition(".")[0], []).append(name)
    shown = [_describe(group, names, contents) for group, names in list(groups.items())[:MAX_GROUPS]]
    if len(groups) > MAX_GROUPS:
        shown.append(f"{len(groups) - MAX_GROUPS} more groups")
    return f"{len(contents)} entries: {', '.join(shown)}" if contents else "nothing"


def _describe(group: str, names: list[Any], contents: Mapping[Any, Any]) -> str:
    first = f"{_short(str(names[0]))} {_kind(contents[names[0]])}"
    return first if len(names) == 1 else f"{_short(group)}.* ({len(names)}, the first {first})"


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"({' x '.join(str(size) for size in tuple(shape)[:6]) or 'a number'})"
    if isinstance(value, Mapping):
        return f"(dict of {len(value)}: {', '.join(_short(str(key)) for key in list(value)[:3])})"
    return f"({type(value).__name__})"


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 3] + "..."
