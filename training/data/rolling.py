"""Rolling origins: the rows of a dataset split again at each of several times.

At each origin, train and val are what was known then, and test is what follows until the next origin.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import SPLITS, Dataset, DatasetError, Split

FIRST_SHARE = 0.4  # of the videos, ordered by when they were first seen, precede the first origin
VAL_SHARE = 0.15  # of the videos before an origin: the latest
# A target is read up to three days after its row, so rows this close to a border would reach beyond it.
MARGIN = timedelta(days=3)


def windows_of(dataset: Dataset, count: int) -> list[tuple[datetime, Dataset]]:
    """The origins, and for each a dataset whose test split is what follows it. Raises `DatasetError`.

    No video is in two splits, and no target of train or val is read after its split ends.
    """
    pool = _pool(dataset)
    times = [video.observed_at for video in pool.videos if video.observed_at is not None]
    if len(times) < len(pool):
        raise DatasetError(f"{dataset.name}: has rows without observed_at, which rolling origins need")
    first: dict[str, datetime] = {}
    for video_id, moment in zip(pool.video_ids, times, strict=True):
        first[video_id] = min(moment, first.get(video_id, moment))
    starts = sorted(first.values())
    shares = np.linspace(FIRST_SHARE, 1, count + 1)[:-1]
    origins = [starts[int(share * len(starts))] for share in shares]
    began = np.array([first[video_id] for video_id in pool.video_ids])
    observed = np.array(times)
    train_end = _val_start(starts, origins[0])
    threshold = _threshold(dataset, pool, (observed < train_end - MARGIN) & (began < train_end))
    found = []
    for origin, end in zip(origins, [*origins[1:], None], strict=True):
        border = _val_start(starts, origin)
        is_test = (began >= origin) & ((began < end) if end is not None else True)
        members = {
            "train": (began < border) & (observed < border - MARGIN),
            "val": (began >= border) & (began < origin) & (observed < origin - MARGIN),
            "test": is_test,
        }
        splits = {name: _take(pool, mask, threshold) for name, mask in members.items()}
        _check(dataset, origin, splits)
        train, val, test = (splits[name] for name in SPLITS)
        found.append((origin, replace(dataset, train=train, val=val, test=test, viral_threshold=threshold)))
    return found


def _val_start(starts: Sequence[datetime], origin: datetime) -> datetime:
    before = [moment for moment in starts if moment < origin]
    return before[int((1 - VAL_SHARE) * len(before))] if before else origin


def _pool(dataset: Dataset) -> Split:
    """The rows of all splits."""
    splits = [dataset.split(name) for name in SPLITS]
    return Split(
        videos=[video for split in splits for video in split.videos],
        video_ids=[video_id for split in splits for video_id in split.video_ids],
        views_per_day=np.concatenate([split.views_per_day for split in splits]),
        is_viral=np.concatenate([split.is_viral for split in splits]),
        weights=np.concatenate([split.weights for split in splits]),
    )


def _threshold(dataset: Dataset, pool: Split, is_train: NDArray[np.bool_]) -> float:
    """Views per day of a viral video, the same at every origin; NaN where the file says which are viral."""
    if np.isnan(dataset.viral_threshold):
        return float("nan")
    share = 1 - dataset.train.is_viral.mean()
    return float(np.quantile(pool.views_per_day[is_train], share)) if is_train.any() else float("nan")


def _take(pool: Split, mask: NDArray[np.bool_], threshold: float) -> Split:
    rows = np.flatnonzero(mask)
    ids = [pool.video_ids[row] for row in rows]
    _, index, counts = np.unique(np.array(ids), return_inverse=True, return_counts=True)
    views_per_day = pool.views_per_day[rows]
    return Split(
        videos=[pool.videos[row] for row in rows],
        video_ids=ids,
        views_per_day=views_per_day,
        is_viral=pool.is_viral[rows] if np.isnan(threshold) else views_per_day > threshold,
        weights=1.0 / counts[index],
    )


def _check(dataset: Dataset, origin: datetime, splits: dict[str, Split]) -> None:
    for name, split in splits.items():
        if not 0 < split.is_viral.sum() < len(split):
            raise DatasetError(
                f"{dataset.name}: {name} of the origin {origin:%Y-%m-%d} has {len(split)} rows, "
                f"{int(split.is_viral.sum())} of them viral, expected some of each class; use fewer "
                "--origins, or use more videos over a longer time"
            )
