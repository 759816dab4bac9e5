"""Permutation importance: how much the score changes when one input is swapped between videos.

Facts about a video are swapped and every feature is recomputed, so that views and likes stay consistent. This
measures how much the model relies on an input, not what causes success.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from features import Video
from training.data.dataset import Split
from training.measure.figures import Predictions
from training.measure.scorer import Inputs, Scorer, inputs_of

SEED = 0
MIN_PERMUTED_ROWS = 5000  # below, the rows are permuted several times
MAX_REPEATS = 5


@dataclass(frozen=True, slots=True)
class Importance:
    """The mean change of viral_score, 0 to 1, and the loss of AUROC when `name` is swapped."""

    name: str
    score_change: float
    auroc_lost: float


def _age(own: Video, other: Video) -> Video:
    changed = replace(own, published_at=other.published_at, observed_at=other.observed_at)
    return _growth(changed, own)


def _size(own: Video, other: Video) -> Video:
    """The other's views; likes, comments and previous views keep their share of them."""
    changed = replace(
        own,
        view_count=other.view_count,
        like_count=_at_rate_of(own, own.like_count, other),
        comment_count=_at_rate_of(own, own.comment_count, other),
    )
    return _growth(changed, own)


def _growth(own: Video, other: Video) -> Video:
    """The other's previous look, as long ago and with the same share of the views; unknown if that is."""
    if own.observed_at is None or other.observed_at is None or other.previous_observed_at is None:
        return replace(own, previous_view_count=None, previous_observed_at=None)
    return replace(
        own,
        previous_view_count=_at_rate_of(other, other.previous_view_count, own),
        previous_observed_at=own.observed_at - (other.observed_at - other.previous_observed_at),
    )


def _response(own: Video, other: Video) -> Video:
    """The other's likes and comments per view."""
    return replace(
        own,
        like_count=_at_rate_of(other, other.like_count, own),
        comment_count=_at_rate_of(other, other.comment_count, own),
    )


def _at_rate_of(source: Video, count: int | None, target: Video) -> int | None:
    """`count` of `source`, scaled to the views of `target`; unknown if either's views are."""
    if count is None or source.view_count is None or target.view_count is None:
        return None
    return round(count * (target.view_count / max(source.view_count, 1)))


def _others(*names: str) -> Callable[[Video, Video], Video]:
    """Swaps these fields as they are."""
    return lambda own, other: replace(own, **{name: getattr(other, name) for name in names})


FACTS: dict[str, Callable[[Video, Video], Video]] = {
    "age": _age,
    "views": _size,
    "growth since the previous look": _growth,
    "likes and comments per view": _response,
    "words": _others("title", "description"),
    "length": _others("duration_seconds"),
    "shares, saves, creator": _others("share_count", "save_count", "completion_rate", "creator_avg_views"),
}
WORDS = "words"
THUMBNAIL = "thumbnail"


def fact_importance(scorer: Scorer, split: Split) -> list[Importance]:
    """By fact, largest first, without facts that are the same in every row."""
    inputs = scorer.inputs(split)
    before = scorer.predict(inputs, split)
    repeats = min(-(-MIN_PERMUTED_ROWS // len(split)), MAX_REPEATS)
    orders = [np.random.default_rng(SEED + repeat).permutation(len(split)) for repeat in range(repeats)]
    found = []
    for name in (*FACTS, THUMBNAIL):
        changed = [_exchange(scorer, split, inputs, name, order) for order in orders]
        if all(_same(inputs, each) for each in changed):
            continue
        after = [scorer.predict(each, split) for each in changed]
        found.append(
            Importance(
                name, *(float(np.mean(values)) for values in zip(*_changes(before, after), strict=True))
            )
        )
    return sorted(found, key=lambda moved: -moved.score_change)


def _exchange(scorer: Scorer, split: Split, inputs: Inputs, name: str, order: NDArray[np.int64]) -> Inputs:
    """`inputs` with one fact from the rows in `order`."""
    if name == THUMBNAIL:
        return replace(inputs, image=inputs.image[order])
    others = [split.videos[row] for row in order]
    videos = [FACTS[name](own, other) for own, other in zip(split.videos, others, strict=True)]
    text = inputs.text[order] if name == WORDS else inputs.text
    return inputs_of(scorer.engine, scorer.card, videos, text, inputs.image)


def _changes(before: Predictions, after: Sequence[Predictions]) -> list[tuple[float, float]]:
    whole = roc_auc_score(before.is_viral, before.viral)
    return [
        (
            float(np.abs(each.viral - before.viral).mean()),
            float(whole - roc_auc_score(each.is_viral, each.viral)),
        )
        for each in after
    ]


def _same(one: Inputs, other: Inputs) -> bool:
    return all(
        a is b or np.array_equal(a, b)
        for a, b in ((one.text, other.text), (one.image, other.image), (one.scalars, other.scalars))
    )
