"""A small synthetic CSV with the real file's columns, and a small real network to fit on it.

Views per day follow from views, age and one word of the title, so there is something to learn from each.
"""

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from model.torch_engine import TorchEngine
from tests.support.tiny import TINY_TEXT, TINY_VISION
from training.data.dataset import Dataset, read_dataset
from training.embeddings.text import TextEmbeddings, encode_texts
from training.encoders import Encoders, random_encoders
from training.head.fit import untrained_checkpoint
from training.recipe import Recipe

SEED = 11
RECIPE = Recipe(text_dims=4, members=2, epochs=6, batch_size=64, learning_rate=1e-2, averaging=0.9)
# With up to 255 train rows gradient boosting takes each value as it is; finding bins is most of a fit.
SPLIT_SIZES = {"train": 126, "val": 50, "test": 80, "purged": 3}
SNAPSHOTS = 3
WORDS = ("trailer", "recipe", "goal", "cat", "news", "song")
LOUD = "trailer"
FIRST = datetime(2018, 1, 1, 6, tzinfo=UTC)


def rows(seed: int = SEED, *, shuffled: bool = False) -> list[dict[str, str]]:
    """Snapshots of some 260 videos; `shuffled` cuts every link between a video and its next views."""
    draw = np.random.default_rng(seed)
    table: list[dict[str, str]] = []
    for split, videos in SPLIT_SIZES.items():
        for number in range(videos):
            table += _snapshots(draw, split, number)
    if shuffled:
        gains = draw.permutation([int(row["next_views"]) - int(row["view_count"]) for row in table])
        for row, gain in zip(table, gains, strict=True):
            row["next_views"] = str(int(row["view_count"]) + int(gain))
    return table


def _snapshots(draw: np.random.Generator, split: str, number: int) -> list[dict[str, str]]:
    word = WORDS[number % len(WORDS)]
    published = FIRST + timedelta(hours=float(draw.uniform(0, 500)))
    age, views = float(draw.uniform(2, 200)), float(10 ** draw.uniform(3, 6))
    snapshots = []
    for _ in range(1 + number % SNAPSHOTS):
        per_day = 24 * views / age * (3 if word == LOUD else 1) * float(draw.lognormal(0, 0.3))
        snapshots.append(
            {
                "video_id": f"{split}-{number}",
                "title": f"{word} {split} {number}" + "!" * (number % 2),
                "description": "told in one month only" if split == "train" and number < 10 else "",
                "published_at": published.isoformat(),
                "observed_at": (published + timedelta(hours=age)).isoformat(),
                "view_count": str(int(views)),
                "like_count": str(int(views * 0.03)),
                "comment_count": str(int(views * 0.004)),
                "next_views": str(int(views + per_day)),
                "hours_to_next": "24",
                "split": split,
            }
        )
        views, age = views + per_day, age + 24
    return snapshots


def write_csv(path: Path, table: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    return path


@cache
def dataset(*, shuffled: bool = False) -> Dataset:
    with TemporaryDirectory() as folder:
        return read_dataset(write_csv(Path(folder) / "rows.csv", rows(shuffled=shuffled)))


@cache
def encoders() -> Encoders:
    """Two layers of BERT, four of ResNet on 64 x 64 pixels, and a head of 64 and 32 units."""
    small = random_encoders(SEED, TINY_TEXT, TINY_VISION)
    return replace(small, config=replace(small.config, hidden=(64, 32)))


@cache
def texts() -> TextEmbeddings:
    base = untrained_checkpoint(encoders(), dataset(), RECIPE, SEED)
    return encode_texts(TorchEngine(base), base, dataset())
