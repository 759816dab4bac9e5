"""Assigns each row to a split: by the file's column, or by video and time.

A video belongs to the split in which it was first seen, so that no video is in two. A row whose target is
measured after the end of its split is `purged`: its target lies in the period of the next split.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from training.data.fields import PURGED, SPLITS
from training.data.rows import Row

SHARES = (0.70, 0.15, 0.15)  # of the videos: train, val, test
BY_COLUMN = "by video, from the file's column"
BY_TIME = "by video and time: the first {:.0%} of the videos seen, the next {:.0%}, the last {:.0%}"
BY_SEED = "by video, at random from the seed, because the rows have no times"


def assign_splits(
    rows: Sequence[Row], seed: int, shares: tuple[float, float, float] = SHARES
) -> tuple[list[Row], str]:
    """Every row with its split, and the method in words; `shares` of the videos if the file has none."""
    if any(row.split is not None for row in rows):
        return list(rows), BY_COLUMN
    first = _first_seen(rows)
    times = sorted(time for time in first.values() if time is not None)
    if len(times) < len(first) or len(set(times)) < len(SPLITS):
        return _by_seed(rows, list(first), seed, shares), BY_SEED
    starts = [times[_position(times, share)] for share in (shares[0], shares[0] + shares[1])]
    return [replace(row, split=_split_of(row, first, starts)) for row in rows], BY_TIME.format(*shares)


def overlap(rows: Sequence[Row]) -> str | None:
    """A sentence if targets of train lie in the period of test."""
    until = [row.until for row in rows if row.split == "train" and row.until]
    begin = [row.video.observed_at for row in rows if row.split == "test" and row.video.observed_at]
    if until and begin and max(until) > min(begin):
        return (
            f"The split is by video only: targets of train reach to {max(until).date()}, test begins on "
            f"{min(begin).date()}. Metrics on a later period than train's are more honest; --column split= "
            "ignores the column and splits by time."
        )
    return None


def _first_seen(rows: Sequence[Row]) -> dict[str, datetime | None]:
    first: dict[str, datetime | None] = {}
    for row in rows:
        moment = row.video.observed_at or row.video.published_at
        known = first.get(row.video_id)
        first[row.video_id] = moment if known is None or moment is None else min(known, moment)
    return first


def _position(times: Sequence[datetime], share: float) -> int:
    """The index at which the next split begins; videos first seen at the same time stay together."""
    position = min(math.ceil(share * len(times)), len(times) - 1)
    return times.index(times[position])


def _split_of(row: Row, first: Mapping[str, datetime | None], starts: Sequence[datetime]) -> str:
    moment = first[row.video_id]
    assert moment is not None, "assign_splits splits by time only if every video has one"
    index = sum(moment >= start for start in starts)
    if index < len(starts) and row.until is not None and row.until > starts[index]:
        return PURGED
    return SPLITS[index]


def _by_seed(
    rows: Sequence[Row], names: list[str], seed: int, shares: tuple[float, float, float]
) -> list[Row]:
    order = np.random.default_rng(seed).permutation(len(names))
    cuts = np.cumsum(shares)[:-1] * len(names)
    index = np.searchsorted(cuts, np.arange(len(names)), side="right")
    split = {names[place]: SPLITS[int(which)] for place, which in zip(order, index, strict=True)}
    return [replace(row, split=split[row.video_id]) for row in rows]
