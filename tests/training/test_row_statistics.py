"""The statistics of the training rows that a checkpoint carries."""

import numpy as np

from features import Video
from training.data.dataset import Split
from training.row_statistics import title_statistics


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
