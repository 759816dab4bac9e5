"""Grows a small BERT to twice its width and any greater depth without changing what it computes.

Function-preserving growth as in Net2Net (Chen et al. 2016, arXiv:1511.05641) and bert2BERT (Chen et al. 2022,
arXiv:2110.07143). Where the small network holds x, the grown one holds [x; x]: layer norm of a doubled vector
is the doubled layer norm, and a matrix W becomes [[W, W], [W, W]] / 2. Within each attention head the doubled
queries and keys give twice the product, over a square root of twice the head size: queries times sqrt(1/2)
make up for it. Layers are added in front, with zero sub-layers, so that only their layer norms act: they pass
a normalised vector on unchanged, and the last one applies the scale and shift of the embeddings' layer norm.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from model.config import TextConfig

EMBEDDINGS_NORM = "bert.embeddings.LayerNorm"
SUB_LAYERS = ("attention.output", "output")
PROJECTIONS = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")


def grow(
    small: Mapping[str, Tensor], config: TextConfig, layers: int
) -> tuple[TextConfig, dict[str, Tensor]]:
    """A BERT of `layers` layers and twice the width of `small`, whose output is that of `small`, repeated.

    `small` has the shape `config`; it and the result have the names of a `TextEncoder`. Raises `ValueError`
    for fewer layers than `small` has.
    """
    added = layers - config.layers
    if added < 0:
        raise ValueError(f"layers is {layers}, the small encoder has {config.layers}; it can only grow")
    width, inner = 2 * config.hidden_size, 2 * config.intermediate_size
    grown = replace(config, hidden_size=width, intermediate_size=inner, layers=layers)
    state = {
        name: torch.cat([table, table], dim=1) if table.ndim == 2 else torch.cat([table, table])
        for name, table in small.items()
        if name.startswith("bert.embeddings.")
    }
    for layer in range(config.layers):
        state |= _layer(small, f"bert.encoder.layer.{layer}.", f"bert.encoder.layer.{layer + added}.", config)
    state |= _doubled(small, "bert.pooler.dense", "bert.pooler.dense")
    for layer in range(added):
        state |= _identity_layer(f"bert.encoder.layer.{layer}.", width, inner)
    if added:
        last = f"bert.encoder.layer.{added - 1}.output.LayerNorm"
        state |= {f"{last}.{part}": state[f"{EMBEDDINGS_NORM}.{part}"] for part in ("weight", "bias")}
        state |= _unit_norm(EMBEDDINGS_NORM, width)
    return grown, state


def _layer(small: Mapping[str, Tensor], source: str, target: str, config: TextConfig) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name in ("intermediate.dense", "output.dense"):
        state |= _doubled(small, source + name, target + name)
    for name in SUB_LAYERS:
        for part in ("weight", "bias"):
            norm = small[f"{source}{name}.LayerNorm.{part}"]
            state[f"{target}{name}.LayerNorm.{part}"] = torch.cat([norm, norm])
    # A head's units stay together: doubled within the head, not appended after all heads.
    size = config.hidden_size // config.heads
    units = torch.arange(config.hidden_size).view(config.heads, 1, size).repeat(1, 2, 1).flatten()
    for name in ("query", "key", "value"):
        gain = math.sqrt(0.5) if name == "query" else 1.0
        weight = small[f"{source}attention.self.{name}.weight"][units] / 2
        bias = small[f"{source}attention.self.{name}.bias"][units]
        state[f"{target}attention.self.{name}.weight"] = torch.cat([weight, weight], dim=1) * gain
        state[f"{target}attention.self.{name}.bias"] = bias * gain
    name = "attention.output.dense"
    weight, bias = small[f"{source}{name}.weight"][:, units] / 2, small[f"{source}{name}.bias"]
    state[f"{target}{name}.weight"] = torch.cat([weight, weight])
    state[f"{target}{name}.bias"] = torch.cat([bias, bias])
    return state


def _doubled(small: Mapping[str, Tensor], source: str, target: str) -> dict[str, Tensor]:
    """A linear layer from [x; x] to [y; y]: a matrix (M, N) becomes (2M, 2N)."""
    weight, bias = small[f"{source}.weight"] / 2, small[f"{source}.bias"]
    return {f"{target}.weight": weight.repeat(2, 2), f"{target}.bias": torch.cat([bias, bias])}


def _identity_layer(target: str, width: int, inner: int) -> dict[str, Tensor]:
    shapes = dict.fromkeys(PROJECTIONS, (width, width))
    shapes |= {"intermediate.dense": (inner, width), "output.dense": (width, inner)}
    state = {f"{target}{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    state |= {f"{target}{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    for name in SUB_LAYERS:
        state |= _unit_norm(f"{target}{name}.LayerNorm", width)
    return state


def _unit_norm(name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}
