"""The groups of inputs that a request may leave out, and how training hides them.

A head that has never seen a title without counts would score it like a video with the mean counts. So each
training row hides groups at random, and the flags among the features say which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from features import MILES_V2, OPTIONAL, Video
from model.outputs import KNOWN, PATTERNS, groups_in
from training.data.dataset import Dataset

HIDDEN: Mapping[str, Mapping[str, Any]] = {
    "views": {"view_count": None},
    "reactions": {"like_count": None, "comment_count": None},
    "age": {"published_at": None},
    "history": {"previous_view_count": None, "previous_observed_at": None},
    "length": {"duration_seconds": None},
    "description": {"description": ""},
    "shares": {"share_count": None},
    "saves": {"save_count": None},
    "watching": {"completion_rate": None},
    "creator": {"creator_avg_views": None},
}
"""The fields of each group, with the value of a request that leaves them out."""
# Hidden with another group: a request without likes has no shares either.
WITH: Mapping[str, tuple[str, ...]] = {"reactions": ("shares", "saves", "watching")}
# A group that fewer rows have is hidden in every row: too few to learn from.
MIN_SHARE = 0.01


def hidden(videos: Sequence[Video], groups: Sequence[str]) -> list[Video]:
    """The same videos as in requests that leave `groups` out."""
    together = [each for group in groups for each in (group, *WITH.get(group, ()))]
    changes = {field: value for group in together for field, value in HIDDEN[group].items()}
    return [replace(video, **changes) for video in videos] if changes else list(videos)


def hidden_where(videos: Sequence[Video], rows: Mapping[str, Tensor]) -> list[Video]:
    """The same videos, each without the groups that `rows`, bools (N,) by group, hide in it."""
    found = list(videos)
    for name, hides in rows.items():
        without = hidden(found, [name])
        found = [without[row] if hides[row] else video for row, video in enumerate(found)]
    return found


def learned_groups(dataset: Dataset) -> tuple[str, ...]:
    """The groups that enough train and val rows have, with more than one value among the train rows."""
    return tuple(group for group in HIDDEN if _is_learned(dataset, group))


def features_of(dataset: Dataset) -> tuple[str, ...]:
    """The names of the features that a head on this data reads."""
    learned = learned_groups(dataset)
    return (*MILES_V2, *(name for group, names in OPTIONAL.items() if group in learned for name in names))


def left_out(dataset: Dataset) -> list[str]:
    """A sentence about each group of fields that the head gives no weight."""
    learned = learned_groups(dataset)
    return [
        f"{' and '.join(fields)} {'have' if len(fields) > 1 else 'has'} no effect: hardly any row of the "
        "data has a value, or all have the same."
        for group, fields in HIDDEN.items()
        if group not in learned and _is_missed(dataset, group)
    ]


def patterns_in(groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names of the patterns that requests may have, each with the groups among `KNOWN` to hide.

    A previous look is known only if the views are known.
    """
    known = [group for group in KNOWN if group in groups]
    names = [name for name in PATTERNS if set(groups_in(name)) <= set(known)]
    possible = [name for name in names if "history" not in groups_in(name) or "views" in groups_in(name)]
    return {name: tuple(group for group in known if group not in groups_in(name)) for name in possible}


def _is_missed(dataset: Dataset, group: str) -> bool:
    """Whether a person would expect an effect of a group: few files have the optional ones."""
    if group in OPTIONAL:
        (field,) = HIDDEN[group]
        return any(getattr(video, field) is not None for video in dataset.train.videos)
    return group != "description"  # the choice of text fields has its own sentence


def _is_learned(dataset: Dataset, group: str) -> bool:
    absent = tuple(HIDDEN[group].values())
    train, val = (
        [tuple(getattr(video, field) for field in HIDDEN[group]) for video in split.videos]
        for split in (dataset.train, dataset.val)
    )
    # The group's flag among the features needs all of its fields.
    complete = [[values for values in rows if not set(values) & set(absent)] for rows in (train, val)]
    shares = [len(known) / len(rows) for known, rows in zip(complete, (train, val), strict=True)]
    return min(shares) >= MIN_SHARE and len(set(complete[0])) > 1
