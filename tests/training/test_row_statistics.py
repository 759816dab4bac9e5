"""The statistics of the training rows that a checkpoint carries."""

import numpy as np

from features import Video
from training.data.dataset import Split
from training.row_statistics import smallest_effect, title_statistics

ROWS = 8000


def test_every_video_counts_the_same():
    """Three snapshots of one video and one of another: the mean vector is halfway between the two."""
    train = Split(
        videos=[Video(title="one")] * 3 + [Video(title="два")],
        video_ids=["a", "a", "a", "b"],
        views_per_day=np.ones(4),
        is_viral=np.zeros(4, dtype=bool),
        weights=np.array([1 / 3, 1 / 3, 1 / 3, 1]),
    )
    vectors = np.array([[0, 2], [0, 2], [0, 2], [1, 4]], dtype=np.float32)
    assert title_statistics(train, vectors) == {
        "mean_vector": [0.5, 3.0],
        "scripts": {"Latin": 0.5, "Cyrillic": 0.5},
        "min_letters_per_piece": None,
    }


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
