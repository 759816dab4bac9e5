"""A checkpoint's provenance: encoders, data, recipe, and sentences for people."""

from dataclasses import asdict
from datetime import UTC, datetime
from math import isnan
from typing import Any

from model import VERSION
from model.demo_checkpoint import SOURCE
from training.data.dataset import SPLITS, Dataset, Split
from training.embeddings.images import ImageEmbeddings
from training.encoders import Encoders
from training.head.knowns import left_out
from training.recipe import Recipe

TRAINED = "trained with training.fit"
NO_IMAGES = "The data has no images, so the image weights are zero: a thumbnail does not change a score."
TITLES = "Only titles are read, not descriptions."
NO_TEXT = "The words of a title have no weight in this checkpoint; only its form counts, such as its length."
READ_TEXT = "Titles are read by {name}, which was trained on language, most of it English."
GROWN_TEXT = (
    "Titles are read by {name}, grown to BERT-base's shape; it was trained on language, most of it English."
)
RANDOM_TEXT = "The text encoder has random weights: it distinguishes words but does not know what they mean."
RANDOM_IMAGE = "The image encoder has random weights: it distinguishes colors and coarse shapes, not objects."
# The origin of data files, by sha256.
KNOWN_DATA = {
    "097f5964b5ac79c60cb2eb5353e12cb7595435a9629664a65aec695a2b3adf0a": {
        "name": "Trending YouTube Video Statistics (Kaggle datasnaek/youtube-new), US",
        "licence": "CC0-1.0",
        "population": "videos that were already trending on YouTube in the US, November 2017 to June 2018",
        "note": "Trained on videos from YouTube's US trending list, November 2017 to June 2018; its "
        "probabilities do not transfer to ordinary uploads.",
        "titles": "Only titles are read, because only one month of the data has descriptions.",
    },
    "6acd908a0047c1e33bba554c2b73e057a86eb5083ab47d50eb1d2ed81d0ea36b": {
        "name": "Short videos on YouTube's most popular lists of 110 countries "
        "(github.com/sheb1lmsp/youtube-trending-analytics)",
        "licence": "MIT",
        "population": "videos of at most 180 seconds that were already on YouTube's most popular lists, "
        "December 2025 to August 2026",
        "note": "Trained on short videos that were on YouTube's most popular lists, December 2025 to August "
        "2026; its probabilities do not transfer to ordinary uploads.",
        "titles": "Only titles are read, because the data has no descriptions.",
    },
}
UNKNOWN_DATA = {
    "name": "not stated",
    "licence": "not stated",
    "population": None,
    "note": "The origin of the training data is not stated.",
    "titles": TITLES,
}


def provenance(
    dataset: Dataset, encoders: Encoders, recipe: Recipe, seed: int, images: ImageEmbeddings | None
) -> dict[str, Any]:
    """A checkpoint's `provenance`, plain values."""
    known = KNOWN_DATA.get(dataset.sha256, UNKNOWN_DATA)
    is_known = dataset.sha256 in KNOWN_DATA
    return {
        "source": SOURCE if encoders.are_composable and is_known else TRAINED,
        "encoders": encoders.provenance,
        "data": {
            **{name: text for name, text in known.items() if name not in ("note", "titles")},
            "file": dataset.name,
            "sha256": dataset.sha256,
            "split": "by video and time, from the file's column" if is_known else dataset.split_method,
            "observed": {name: observed(dataset.split(name)) for name in SPLITS},
            "rows": {name: len(dataset.split(name)) for name in SPLITS},
            "videos": {name: len(set(dataset.split(name).video_ids)) for name in SPLITS},
            "purged_rows": dataset.purged_rows,
            "left_out": dataset.bad_rows.counts(),
            "viral_above_views_per_day": None if isnan(dataset.viral_threshold) else dataset.viral_threshold,
            **({} if images is None else {"thumbnails": images.counts(dataset)}),
        },
        "recipe": {**asdict(recipe), "seed": seed},
        "code_version": VERSION,
        "created": datetime.now(UTC).date().isoformat(),
        "notes": [*_notes(dataset, encoders, images), *_text_notes(encoders, recipe)],
    }


def observed(split: Split) -> str:
    """The first and the last day of the rows' `observed_at`."""
    days = sorted(video.observed_at.date().isoformat() for video in split.videos if video.observed_at)
    return f"{days[0]} to {days[-1]}" if days else "not stated"


def _notes(dataset: Dataset, encoders: Encoders, images: ImageEmbeddings | None) -> list[str]:
    known = KNOWN_DATA.get(dataset.sha256, UNKNOWN_DATA)
    notes = [NO_IMAGES] if images is None else []
    notes += left_out(dataset)
    if "description" not in dataset.text_fields:
        notes.append(str(known["titles"]))
    notes.append(str(known["note"]))
    if images is not None and "seed" in encoders.provenance["image"]:
        notes.append(RANDOM_IMAGE)
    return notes


def _text_notes(encoders: Encoders, recipe: Recipe) -> list[str]:
    encoder = encoders.text
    notes = [] if recipe.text_dims else [NO_TEXT]
    if not encoder.understands:
        return [*notes, RANDOM_TEXT]
    return notes or [(GROWN_TEXT if encoder.kind == "grown" else READ_TEXT).format(name=encoder.name)]
