"""The smallest difference between two titles that means something."""

import numpy as np

from training.row_statistics import smallest_effect

ROWS = 8000


def outcomes_of(effects, draw):
    """Outcomes that follow effects beyond 1, and chance below."""
    return np.where(np.abs(effects) > 1, effects, 0) + draw.normal(0, 1, len(effects))


def test_effects_count_from_the_size_at_which_outcomes_follow_them():
    draw = np.random.default_rng(0)
    effects = draw.uniform(-2, 2, ROWS)
    found = smallest_effect(effects, outcomes_of(effects, draw), [str(row) for row in range(ROWS)])
    assert found is not None
    assert 0.8 < found < 1.3


def test_effects_that_no_outcome_follows_have_no_smallest_size():
    draw = np.random.default_rng(0)
    effects = draw.uniform(-2, 2, ROWS)
    assert smallest_effect(effects, draw.normal(0, 1, ROWS), [str(row) for row in range(ROWS)]) is None


def test_many_rows_of_few_videos_are_not_enough():
    draw = np.random.default_rng(0)
    effects = draw.uniform(-2, 2, ROWS)
    assert smallest_effect(effects, effects, [str(row % 10) for row in range(ROWS)]) is None
