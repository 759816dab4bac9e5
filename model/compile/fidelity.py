"""The fidelity gate: how far a compiled tower may be from the float32 reference before it is refused.

Scores alone cannot judge a tower: a head that gives images no weight is blind to a broken image tower. So the
tower's own vectors are judged too. Their cosine is that of whole vectors, which for features that are all
positive hides much; the share of variance kept asks whether what tells one input from another survives.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.engine import Scores, Vectors
from model.velocity import LogVelocity, Velocity

FloatArray = NDArray[np.float64]
ROWS = 1000  # every held-back text with several draws of scalars; only the fusion runs so often


@dataclass(frozen=True)
class Figures:
    """How far a candidate is from the reference; None where there are no vectors to compare."""

    viral_score_p99: float
    """|change| of P(viral), 99th percentile."""
    viral_score_max: float
    spearman: float
    """Rank correlation of P(viral): does the order of videos survive?"""
    velocity_p99: float
    """Relative change of views per day, 99th percentile."""
    vector_cosine_mean: float | None = None
    """Cosine of the tower's vectors and the reference's, mean over inputs."""
    vector_cosine_p1: float | None = None
    """The same, first percentile."""
    vector_variance_kept: float | None = None
    """1 - mean squared error / variance of the reference's vectors over inputs."""


HIGHEST = {"viral_score_p99": 0.01, "viral_score_max": 0.02, "velocity_p99": 0.02}
# int8 keeps .99 of a text tower's variance, bf16 .999 of any; a tower that answers every input alike keeps 0.
LOWEST = {
    "spearman": 0.999,
    "vector_cosine_mean": 0.99,
    "vector_cosine_p1": 0.98,
    "vector_variance_kept": 0.9,
}


@dataclass(frozen=True)
class Vectored:
    """What the towers say of the held-back inputs: (texts, text_dim), (images, image_dim)."""

    text: Vectors
    image: Vectors


class Judge:
    """Compares towers with the reference, `ROWS` videos at a time."""

    def __init__(
        self,
        reference: Vectored,
        scalars: Vectors,
        reference_scores: Scores,
        fuse: Callable[[Vectors, Vectors, Vectors], Scores],
        velocity: Velocity,
    ) -> None:
        """`reference_scores` are the reference's own of `rows_of(reference)` and `scalars`."""
        self.reference = reference
        self._scalars = scalars
        self._scores = reference_scores
        self.fuse = fuse
        self._floor = velocity_floor(velocity)

    def figures(self, **changed: Vectors) -> Figures:
        """The figures when the towers in `changed` give other vectors; none changed judges the fusion."""
        candidate = Vectored(**{**asdict(self.reference), **changed})
        scores = self.fuse(*rows_of(candidate, len(self._scalars)), self._scalars)
        figures = compare_scores(scores, self._scores, self._floor)
        if len(changed) == 1:
            ((tower, vectors),) = changed.items()
            figures |= compare_vectors(vectors, getattr(self.reference, tower))
        return Figures(**figures)


def rows_of(vectored: Vectored, count: int) -> tuple[Vectors, Vectors]:
    """Text and image vectors of `count` videos, every input used again and again."""
    index = np.arange(count)
    images = vectored.image
    image = images[index % len(images)] if len(images) else np.zeros((count, 0), dtype=np.float32)
    return vectored.text[index % len(vectored.text)], image


def compare_scores(scores: Scores, reference: Scores, velocity_floor: float) -> dict[str, float]:
    """The four figures of the scores."""
    viral = np.abs(scores.viral - reference.viral)
    velocity = np.abs(scores.velocity - reference.velocity) / np.maximum(reference.velocity, velocity_floor)
    return {
        "viral_score_p99": float(np.percentile(viral, 99)),
        "viral_score_max": float(viral.max()),
        "spearman": rank_correlation(scores.viral, reference.viral),
        "velocity_p99": float(np.percentile(velocity, 99)),
    }


def compare_vectors(vectors: Vectors, reference: Vectors) -> dict[str, float]:
    """The two figures of a tower's vectors, (N, D) each."""
    ours, theirs = vectors.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = (ours * theirs).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    error = ((ours - theirs) ** 2).sum()
    spread = ((theirs - theirs.mean(axis=0)) ** 2).sum()
    return {
        "vector_cosine_mean": float(cosine.mean()),
        "vector_cosine_p1": float(np.percentile(cosine, 1)),
        "vector_variance_kept": float(1 - error / max(spread, np.finfo(np.float64).tiny)),
    }


def refusal(figures: Figures) -> str | None:
    """Why these figures miss the gate, every miss with both numbers; None when they pass."""
    found = asdict(figures)
    misses = [
        *_misses(found, HIGHEST, "at most", lambda value, limit: value <= limit),
        *_misses(found, LOWEST, "at least", lambda value, limit: value >= limit),
    ]
    return "; ".join(misses) or None


def _misses(
    found: Mapping[str, Any], limits: Mapping[str, float], words: str, holds: Callable[[float, float], bool]
) -> list[str]:
    # A NaN holds nowhere, so a graph that computes nothing does not pass.
    return [
        f"{name} is {found[name]:.4g}, {words} {limit:g} is allowed"
        for name, limit in limits.items()
        if found[name] is not None and not holds(found[name], limit)
    ]


def velocity_floor(velocity: Velocity) -> float:
    """Below this many views per day a change is measured against it: nothing is relative to zero views.

    One view for a logarithmic target; a hundredth of its span for a linear one, whose errors are absolute.
    """
    return 1.0 if isinstance(velocity, LogVelocity) else (velocity.high - velocity.low) / 100


def rank_correlation(left: FloatArray, right: FloatArray) -> float:
    """Spearman's: ties share their mean rank; two constants agree, one alone does not."""
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return float("nan")
    ranks = [_ranks(left), _ranks(right)]
    spreads = [float(rank.std()) for rank in ranks]
    if min(spreads) == 0:
        return 1.0 if max(spreads) == 0 else 0.0
    covariance = ((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean()
    return float(covariance / (spreads[0] * spreads[1]))


def _ranks(values: FloatArray) -> FloatArray:
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    ranks: FloatArray = ((last - counts + last - 1) / 2)[index]
    return ranks
