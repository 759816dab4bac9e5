"""The heads that a fit trains, by inputs and by text fields; the lowest loss on val decides."""

import math
from dataclasses import replace
from pathlib import Path

from model.checkpoint.store import Checkpoint
from model.torch_engine import TorchEngine
from training.data.dataset import TITLE_AND_DESCRIPTION, Dataset, with_titles_only
from training.embeddings.images import ImageEmbeddings
from training.embeddings.text import TextEmbeddings, encode_texts
from training.encoders import Encoders
from training.head.fit import Trained, fit_head, untrained_checkpoint
from training.recipe import Recipe

SCALARS, TEXT, IMAGE, BOTH = "scalars", "scalars and text", "scalars and image", "scalars, text and image"
# Whether each reads text and images; the first with the lowest loss on val is written.
CANDIDATES = {SCALARS: (False, False), TEXT: (True, False), IMAGE: (False, True), BOTH: (True, True)}


def train_candidates(
    base: Checkpoint,
    dataset: Dataset,
    texts: TextEmbeddings,
    recipe: Recipe,
    seed: int,
    images: ImageEmbeddings | None,
) -> dict[str, Trained]:
    """A head for each combination of inputs, the one with all of them first."""
    candidates = {}
    for name, (text, image) in CANDIDATES.items():
        if (image and images is None) or (text and not recipe.text_dims):
            continue
        print(f"training the head on {name}", flush=True)
        candidates[name] = fit_head(base, dataset, texts, recipe_of(name, recipe), seed, images)
    return candidates


def recipe_of(name: str, recipe: Recipe) -> Recipe:
    """The recipe of the candidate called `name`."""
    text, image = CANDIDATES[name]
    return replace(
        recipe, text_dims=recipe.text_dims if text else 0, image_dims=recipe.image_dims if image else 0
    )


def print_choice(candidates: dict[str, Trained], chosen: str) -> None:
    """Print each loss on val and which head is written."""
    losses = ", ".join(f"{trained.loss:.4f} with {name}" for name, trained in candidates.items())
    print(f"loss on val: {losses}. The checkpoint has the head on {chosen}.", flush=True)


def preferred_text(
    dataset: Dataset, encoders: Encoders, recipe: Recipe, seed: int, cache: Path | None, device: str
) -> Dataset:
    """`dataset` with the titles only, or with descriptions if they lower the loss on val by more than chance.

    A head on scalars and text is trained on each. Chance is 1 / sqrt(N) of the loss for the N videos of val:
    the standard error of the gain if its standard deviation between videos were as large as the loss. A file
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
        "--text selects other fields.",
        flush=True,
    )
    return readings[chosen]
