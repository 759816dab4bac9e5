"""How the test rows are divided for measuring: by what is known about a video, its age and its views."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from features.video import age_hours
from training.data.dataset import Dataset, Split
from training.head.knowns import learned_groups

HIDDEN_GROUPS = {
    "counts, age and previous look": (),
    "counts and age": ("history",),
    "counts": ("history", "age"),
    "title and length": ("history", "age", "views", "reactions"),
}
"""The groups of inputs that are hidden in every row, by what is left."""
TITLE_ONLY = "title and length"
# What each condition knows beyond the next one; without it in the data, the two are the same.
_ADDED = {"counts, age and previous look": "history", "counts and age": "age", "counts": "views"}
DAY = 24.0
AGE_EDGES = (1 * DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY)  # hours
AGE_LABELS = ("under 1 day", "1 to 2 days", "2 to 4 days", "4 to 7 days", "1 to 2 weeks", "over 2 weeks")
VIEW_EDGES = (1e4, 1e5, 3e5, 1e6, 3e6, 1e7)
VIEW_LABELS = (
    *("under 10 k", "10 to 100 k", "100 to 300 k", "300 k to 1 M"),
    *("1 to 3 M", "3 to 10 M", "over 10 M"),
)
UNKNOWN = "unknown"


def conditions_of(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """The conditions that this data can tell apart, the one that knows most first."""
    learned = learned_groups(dataset)
    return {
        name: groups
        for name, groups in HIDDEN_GROUPS.items()
        if name == TITLE_ONLY or _ADDED[name] in learned
    }


def age_groups(split: Split) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Each row's group by age, and the groups' labels; rows without an age have their own group."""
    return _groups(map(age_hours, split.videos), AGE_EDGES), (*AGE_LABELS, UNKNOWN)


def size_groups(split: Split) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Each row's group by its views so far, and the groups' labels."""
    return _groups((video.view_count for video in split.videos), VIEW_EDGES), (*VIEW_LABELS, UNKNOWN)


def _groups(values: Iterable[float | None], edges: Sequence[float]) -> NDArray[np.int64]:
    """(N,) positions among the edges; an unknown value comes after all others."""
    known = np.array(list(values), dtype=np.float64)
    return np.where(np.isnan(known), len(edges) + 1, np.searchsorted(edges, known, side="right"))
