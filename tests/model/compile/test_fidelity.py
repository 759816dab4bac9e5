"""The gate's figures on numbers small enough to check by hand, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from model.compile.fidelity import (
    Figures,
    compare_scores,
    compare_vectors,
    rank_correlation,
    refusal,
    velocity_floor,
)
from model.engine import Scores
from model.outputs import LogVelocity, MinMaxVelocity

PERFECT = Figures(0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0)


def scores(viral, velocity):
    return Scores(np.array(viral, dtype=np.float64), np.array(velocity, dtype=np.float64))


def test_scores_are_compared_row_by_row():
    """Changes of probability are absolute, changes of velocity relative to the reference."""
    figures = compare_scores(scores([0.1, 0.6], [100, 220]), scores([0.1, 0.5], [100, 200]), 1.0)
    assert figures["viral_score_max"] == pytest.approx(0.1)
    assert figures["velocity_p99"] == pytest.approx(0.099)  # the 99th percentile of 0 and 0.1
    assert figures["spearman"] == pytest.approx(1.0)


def test_a_velocity_of_zero_has_a_floor():
    """A hair above zero views is not a change of a million percent."""
    figures = compare_scores(scores([0.1], [0.01]), scores([0.1], [0.0]), 1.0)
    assert figures["velocity_p99"] == pytest.approx(0.01)
    assert velocity_floor(LogVelocity(1.0, 1.0, 20.0)) == 1.0
    assert velocity_floor(MinMaxVelocity(0.0, 5000.0)) == 50.0


def test_rank_correlation_is_spearmans():
    """It is SciPy's, ties included; two constants agree, a constant and a ranking do not, NaN is NaN."""
    for left, right in np.random.default_rng(0).integers(0, 20, (3, 2, 200)).astype(np.float64):
        assert rank_correlation(left, right) == pytest.approx(spearmanr(left, right).statistic)
    flat, rising = np.zeros(4), np.arange(4.0)
    assert rank_correlation(flat, flat) == 1.0
    assert rank_correlation(flat, rising) == 0.0
    assert np.isnan(rank_correlation(rising, np.array([1.0, np.nan, 2.0, 3.0])))


def test_vectors_that_are_all_the_same_keep_no_variance():
    """A tower that answers every input with the mean has a cosine of nearly 1, and keeps nothing."""
    vectors = 10 + np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)
    figures = compare_vectors(np.repeat(vectors.mean(axis=0)[None], 50, axis=0), vectors)
    assert figures["vector_cosine_p1"] > 0.98
    assert figures["vector_variance_kept"] == pytest.approx(0.0, abs=1e-6)
    assert refusal(replace(PERFECT, **figures)) is not None
    equal = compare_vectors(vectors, vectors)
    assert equal == pytest.approx(dict.fromkeys(equal, 1.0))


def test_the_perfect_tower_passes():
    assert refusal(PERFECT) is None
    assert refusal(Figures(0.0, 0.0, 1.0, 0.0)) is None


BEYOND = [
    *[("viral_score_p99", 0.011), ("viral_score_max", 0.021), ("spearman", 0.998), ("velocity_p99", 0.021)],
    *[("vector_cosine_mean", 0.98), ("vector_cosine_p1", 0.97), ("vector_variance_kept", 0.89)],
    *[(name, float("nan")) for name in ("viral_score_p99", "spearman", "vector_variance_kept")],
]


def test_one_figure_beyond_its_limit_refuses():
    """The refusal names the figure with both numbers."""
    for name, value in BEYOND:
        reason = refusal(replace(PERFECT, **{name: value})) or ""
        assert reason.startswith(f"{name} is {value:.4g}, at ")
        assert ";" not in reason
