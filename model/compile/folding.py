"""Leaves out text layers that compute nothing, such as those of a grown encoder (`model.grown`).

A layer whose sub-layers give zero only applies its two layer norms. A layer norm of an already
normalised vector changes nothing, so if the norm before the layer and the layer's first norm have scale 1
and shift 0, the layer's last norm can take the place of the one before it.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from model.checkpoint.store import Checkpoint

EMBEDDINGS_NORM = "text_encoder.bert.embeddings.LayerNorm"
LAYERS = "text_encoder.bert.encoder.layer."
PARTS = ("weight", "bias")


def fold_identity_layers(checkpoint: Checkpoint) -> tuple[Checkpoint, int]:
    """`checkpoint` without the text layers that compute nothing, and their number.

    Its vectors differ by rounding at most.
    """
    config = checkpoint.card.config
    if config.text is None:
        return checkpoint, 0
    folded = {name: weight for name, weight in checkpoint.state_dict.items() if not name.startswith(LAYERS)}
    norm_before, kept = EMBEDDINGS_NORM, 0
    for layer in range(config.text.layers):
        prefix = f"{LAYERS}{layer}."
        own = {
            name.removeprefix(prefix): weight
            for name, weight in checkpoint.state_dict.items()
            if name.startswith(prefix)
        }
        if _is_identity(own) and _is_unit(folded, norm_before):
            folded |= {f"{norm_before}.{part}": own[f"output.LayerNorm.{part}"] for part in PARTS}
        else:
            folded |= {f"{LAYERS}{kept}.{name}": weight for name, weight in own.items()}
            norm_before = f"{LAYERS}{kept}.output.LayerNorm"
            kept += 1
    shallow = replace(config, text=replace(config.text, layers=kept))
    return Checkpoint(checkpoint.card.changed(config=shallow), folded), config.text.layers - kept


def _is_identity(layer: Mapping[str, Tensor]) -> bool:
    """Whether the layer's sub-layers give zero, and its first norm neither scales nor shifts."""
    outputs = [
        layer[f"{name}.{part}"] for name in ("attention.output.dense", "output.dense") for part in PARTS
    ]
    return not any(bool(output.any()) for output in outputs) and _is_unit(layer, "attention.output.LayerNorm")


def _is_unit(weights: Mapping[str, Tensor], norm: str) -> bool:
    return bool((weights[f"{norm}.weight"] == 1).all()) and not bool(weights[f"{norm}.bias"].any())
