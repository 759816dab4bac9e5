"""The heads that a fit trains: on the scalars only, with text, with images, and with both."""

from dataclasses import replace

from model.checkpoint.store import Checkpoint
from training.data.dataset import Dataset
from training.embeddings.images import ImageEmbeddings
from training.embeddings.text import TextEmbeddings
from training.head.fit import Trained, fit_head
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


def seen(images: ImageEmbeddings | None, trained: Trained) -> ImageEmbeddings | None:
    """The images, if the head gives them a weight."""
    return None if "image" in trained.checkpoint.card.zero_weight_modalities else images
