"""Chooses the text fields that a head reads by its loss on val."""

import math
from pathlib import Path

from model.torch_engine import TorchEngine
from training.data.dataset import TITLE_AND_DESCRIPTION, Dataset, with_titles_only
from training.embeddings.text import encode_texts
from training.encoders import Encoders
from training.head.fit import fit_head, untrained_checkpoint
from training.recipe import Recipe


def preferred_text(
    dataset: Dataset, encoders: Encoders, recipe: Recipe, seed: int, cache: Path | None, device: str
) -> Dataset:
    """`dataset` with the titles only, or with the descriptions if they lower the loss on val beyond chance.

    A head on scalars and text is trained on each. Beyond chance is more than 1 / sqrt(N) of the loss over the
    N videos of val: its standard error if videos differed in their gain as much as the loss is large. A file
    without descriptions is returned as it is.
    """
    if dataset.text_fields != TITLE_AND_DESCRIPTION or not recipe.text_dims:
        return dataset
    losses: dict[str, float] = {}
    readings = {" and ".join(each.text_fields): each for each in (with_titles_only(dataset), dataset)}
    for name, reading in readings.items():
        print(f"training the head on scalars and {name}, to choose the text fields", flush=True)
        base = untrained_checkpoint(encoders, reading, recipe, seed)
        texts = encode_texts(TorchEngine(base, device), base, reading, cache)
        losses[name] = fit_head(base, reading, texts, recipe, seed).loss
    titles, both = readings
    chance = losses[titles] / math.sqrt(len(set(dataset.val.video_ids)))
    chosen = both if losses[both] < losses[titles] - chance else titles
    shown = ", ".join(f"{loss:.4f} with {name}" for name, loss in losses.items())
    print(
        f"loss on val: {shown}; {chance:.4f} may be chance. The head reads {chosen}; "
        "--text reads other fields.",
        flush=True,
    )
    return readings[chosen]
