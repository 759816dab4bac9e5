"""The fidelity check: how far a compiled tower may be from the float32 reference.

Scores are not enough: a head that gives images no weight does not reveal a broken image tower. So the tower's
vectors are compared too, by cosine and by the share of variance kept. Cosines of all-positive features are
always high; the variance kept shows whether the differences between inputs survive.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from model.engine import Scores, Vectors
from model.outputs import LogVelocity, Velocity

FloatArray = NDArray[np.float64]
ROWS = 1000  # scored videos: each held-back text with several draws of scalars


@dataclass(frozen=True)
class Figures:
    """Differences between a candidate and the reference; None where there are no vectors to compare."""

    viral_score_p99: float
    """Absolute change of P(viral), 99th percentile."""
    viral_score_max: float
    spearman: float
    """Rank correlation of P(viral)."""
    velocity_p99: float
    """Relative change of views per day, 99th percentile."""
    vector_cosine_mean: float | None = None
    """Cosine of the tower's and the reference's vectors: mean and first percentile over inputs."""
    vector_cosine_p1: float | None = None
    vector_variance_kept: float | None = None
    """1 - mean squared error / variance of the reference's vectors over inputs."""


MAXIMA = {"viral_score_p99": 0.01, "viral_score_max": 0.02, "velocity_p99": 0.02}
# int8 keeps 0.99 of a text tower's variance, bf16 0.999; a constant tower keeps 0.
MINIMA = {
    "spearman": 0.999,
    "vector_cosine_mean": 0.99,
    "vector_cosine_p1": 0.98,
    "vector_variance_kept": 0.9,
}


@dataclass(frozen=True)
class TowerVectors:
    """The towers' outputs for the held-back inputs: (texts, text_dim), (images, image_dim)."""

    text: Vectors
    image: Vectors


class Judge:
    """Compares towers with the reference, `ROWS` videos at a time."""

    def __init__(
        self,
        reference: TowerVectors,
        scalars: Vectors,
        reference_scores: Scores,
        fuse: Callable[[Vectors, Vectors, Vectors], Scores],
        velocity: Velocity,
    ) -> None:
        """`reference_scores` are the network's scores of `rows_of(reference)` and `scalars`."""
        self.reference = reference
        self._scalars = scalars
        self._scores = reference_scores
        self.fuse = fuse
        self._floor = velocity_floor(velocity)

    def figures(self, **changed: Vectors) -> Figures:
        """The figures with the vectors of the towers in `changed`; without any, those of the fusion."""
        candidate = TowerVectors(**{**asdict(self.reference), **changed})
        scores = self.fuse(*rows_of(candidate, len(self._scalars)), self._scalars)
        figures = compare_scores(scores, self._scores, self._floor)
        if len(changed) == 1:
            ((tower, vectors),) = changed.items()
            figures |= compare_vectors(vectors, getattr(self.reference, tower))
        return Figures(**figures)


def rows_of(vectors: TowerVectors, count: int) -> tuple[Vectors, Vectors]:
    """Text and image vectors of `count` videos, inputs repeated in turn."""
    index = np.arange(count)
    images = vectors.image
    image = images[index % len(images)] if len(images) else np.zeros((count, 0), dtype=np.float32)
    return vectors.text[index % len(vectors.text)], image


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
    """The figures of a tower's vectors, (N, D) each."""
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
    """Every limit that these figures miss, with both numbers; None when they pass."""
    found = {name: value for name, value in asdict(figures).items() if value is not None}
    # NaN is within no limit, so a graph that computes NaN does not pass.
    high = {name: f"at most {limit:g}" for name, limit in MAXIMA.items() if not found[name] <= limit}
    compared = {name: limit for name, limit in MINIMA.items() if name in found}
    low = {name: f"at least {limit:g}" for name, limit in compared.items() if not found[name] >= limit}
    missed = (high | low).items()
    return "; ".join(f"{name} is {found[name]:.4g}, {words} is allowed" for name, words in missed) or None


def velocity_floor(velocity: Velocity) -> float:
    """The views per day below which a relative change is measured against this number instead.

    One view for a logarithmic target, a hundredth of the range for a linear one, whose errors are absolute.
    """
    return 1.0 if isinstance(velocity, LogVelocity) else (velocity.high - velocity.low) / 100


def rank_correlation(left: FloatArray, right: FloatArray) -> float:
    """Spearman's; 1 for two constants, 0 where only one is constant, NaN where a value is."""
    if np.isnan([left, right]).any():
        return float("nan")
    constants = [bool((values == values[0]).all()) for values in (left, right)]
    if any(constants):
        return float(all(constants))
    return float(np.corrcoef(_ranks(left), _ranks(right))[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    """(N,) places in ascending order; equal values share the mean of their places.

    SciPy's import takes as long as the export of a small network.
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: FloatArray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks
