"""Reads fusions and heads of other shapes and names as this network's. An added layer computes nothing."""

import torch
from torch import Tensor

ENCODERS = ("text_encoder.", "vision_encoder.")
FIRST, SECOND, CLASSIFIER, REGRESSOR = "fusion.0", "fusion.3", "classifier", "regressor"
ONE_LAYER = "mlp.0"  # the fusion of the upstream repository's TextOnlyViralityPredictor
PARTS = ("weight", "bias")


def usual_head(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The weights with this network's fusion and heads, and a sentence for each change.

    A fusion of one layer gets a second one, the identity, which ReLU outputs pass unchanged. A
    classifier with one logit z gets a second one, 0, for "not viral": softmax([0, z]) is sigmoid(z).
    """
    weights, notes = dict(weights), list[str]()
    if f"{ONE_LAYER}.weight" in weights and f"{FIRST}.weight" not in weights:
        _rename(weights, ONE_LAYER, FIRST)
        notes.append(f"{ONE_LAYER} was read as {FIRST}")
    if _is_one_layer(weights):
        width = len(weights[f"{FIRST}.weight"])
        weights |= {f"{SECOND}.weight": torch.eye(width), f"{SECOND}.bias": torch.zeros(width)}
        notes.append(f"its fusion has one layer; {SECOND} is the identity")
    notes += _renamed_heads(weights)
    logits = weights.get(f"{CLASSIFIER}.weight")
    if logits is not None and logits.ndim == 2 and len(logits) == 1:
        for part in PARTS:
            if f"{CLASSIFIER}.{part}" in weights:
                given = weights[f"{CLASSIFIER}.{part}"]
                weights[f"{CLASSIFIER}.{part}"] = torch.cat([torch.zeros_like(given), given])
        notes.append("its classifier has one logit, whose sigmoid is P(viral)")
    return weights, notes


def _is_one_layer(weights: dict[str, Tensor]) -> bool:
    """Whether a head reads the output of `fusion.0`."""
    first = weights.get(f"{FIRST}.weight")
    if first is None or first.ndim != 2 or any(name.startswith("fusion.3.") for name in weights):
        return False
    heads = [tensor for name, tensor in weights.items() if not name.startswith((*ENCODERS, "fusion."))]
    return any(tensor.ndim == 2 and tensor.shape[1] == len(first) for tensor in heads)


def _renamed_heads(weights: dict[str, Tensor]) -> list[str]:
    """Rename a head with another name by its shape, where only one has that shape."""
    second, notes = weights.get(f"{SECOND}.weight"), []
    if second is None or second.ndim != 2:
        return []
    for head, outputs in ((CLASSIFIER, 2), (REGRESSOR, 1)):
        others = [
            name.removesuffix(".weight")
            for name, tensor in weights.items()
            if name.endswith(".weight")
            and not name.startswith((*ENCODERS, "fusion.", f"{CLASSIFIER}.", f"{REGRESSOR}."))
            and tensor.shape == (outputs, len(second))
        ]
        if f"{head}.weight" not in weights and len(others) == 1:
            _rename(weights, others[0], head)
            notes.append(f"{others[0]} was read as {head}")
    return notes


def _rename(weights: dict[str, Tensor], old: str, new: str) -> None:
    for part in PARTS:
        if f"{old}.{part}" in weights:
            weights[f"{new}.{part}"] = weights.pop(f"{old}.{part}")
