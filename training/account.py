"""What a checkpoint says of its making: encoders, data, recipe, and sentences for people."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from model.checkpoint.store import Checkpoint
from model.demo import SOURCE
from training.data.dataset import SPLITS, Dataset, Split
from training.data.known_data import KNOWN_DATA, UNKNOWN_DATA
from training.embeddings.images import ImageVectors
from training.encoders import Encoders
from training.head.train import Recipe

CODE_VERSION = "1.0.0"
TRAINED = "trained with training.fit"
NO_IMAGES = "Image columns are zero, because the data holds no images: a thumbnail does not change a score."
TITLES_OF_KNOWN = "Text is the title alone, because only one month of the data has descriptions."
TITLES = "Text is the title alone: descriptions are not read."
RANDOM_TEXT = (
    "The text encoder is seeded random: it tells titles apart by their words and knows nothing of meaning."
)
RANDOM_IMAGE = (
    "The image encoder is seeded random: it tells pictures apart by colours and coarse shapes and knows "
    "nothing of what they show."
)


def provenance(
    dataset: Dataset, encoders: Encoders, recipe: Recipe, seed: int, images: ImageVectors | None
) -> dict[str, Any]:
    """A checkpoint's `provenance`, plain values."""
    known = KNOWN_DATA.get(dataset.sha256, UNKNOWN_DATA)
    is_known = dataset.sha256 in KNOWN_DATA
    return {
        "source": SOURCE if encoders.are_random and is_known else TRAINED,
        "encoders": encoders.provenance,
        "data": {
            **{name: text for name, text in known.items() if name != "note"},
            "file": dataset.name,
            "sha256": dataset.sha256,
            "split": f"by video and by time, {AS_THE_FILE_SAYS}" if is_known else dataset.split_method,
            "observed": {name: observed(dataset.split(name)) for name in SPLITS},
            "rows": {name: len(dataset.split(name)) for name in SPLITS},
            "videos": {name: len(set(dataset.split(name).video_ids)) for name in SPLITS},
            "purged_rows": dataset.purged_rows,
            "left_out": dataset.bad_rows.counts(),
            "viral_above_views_per_day": _threshold(dataset),
            **({} if images is None else {"thumbnails": images.account(dataset)}),
        },
        "recipe": {**asdict(recipe), "seed": seed},
        "code_version": CODE_VERSION,
        "created": datetime.now(UTC).date().isoformat(),
        "notes": _notes(dataset, encoders, images),
    }


AS_THE_FILE_SAYS = "as the file's column split says"


def with_source(checkpoint: Checkpoint, source: str) -> dict[str, Any]:
    """The checkpoint's provenance under another source."""
    return {**checkpoint.card.provenance, "source": source}


def observed(split: Split) -> str:
    """The first and the last day on which the rows' counts were read."""
    days = sorted(video.observed_at.date().isoformat() for video in split.videos if video.observed_at)
    return f"{days[0]} to {days[-1]}" if days else "not stated"


def _threshold(dataset: Dataset) -> float | None:
    """None where the file itself says which rows are viral."""
    return None if dataset.viral_threshold != dataset.viral_threshold else dataset.viral_threshold


def _notes(dataset: Dataset, encoders: Encoders, images: ImageVectors | None) -> list[str]:
    is_known = dataset.sha256 in KNOWN_DATA
    notes = [NO_IMAGES] if images is None else []
    if "description" not in dataset.text_fields:
        notes.append(TITLES_OF_KNOWN if is_known else TITLES)
    notes.append(str(KNOWN_DATA.get(dataset.sha256, UNKNOWN_DATA)["note"]))
    if "seed" in encoders.provenance["text"]:
        notes.append(RANDOM_TEXT)
    if images is not None and "seed" in encoders.provenance["image"]:
        notes.append(RANDOM_IMAGE)
    return notes
