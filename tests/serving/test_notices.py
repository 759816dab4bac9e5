"""Sentences about what a score rests on."""

from datetime import UTC, datetime

import numpy as np

from features import MILES_V1, FeatureScaler, Video, compute_features
from serving import notices
from tests.tiny import tiny_videos

TRAINED = FeatureScaler().fit(compute_features(tiny_videos()), MILES_V1)


def raw(video: Video) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The features of one video."""
    row: np.ndarray[tuple[int], np.dtype[np.float64]] = compute_features([video])[0]
    return row


def test_training_videos_are_not_foreign() -> None:
    """No video that the scaler was fitted on is outside the training data."""
    assert all(notices.out_of_range(row, TRAINED) == [] for row in compute_features(tiny_videos()))


def test_foreign_counts_are_told_as_counts() -> None:
    """A logarithm outside its range is told as the count that was sent, with the range."""
    (sentence,) = notices.out_of_range(raw(Video(title="morning routine", view_count=10**12)), TRAINED)
    assert "view_count is 1e+12, trained on " in sentence
    assert "log_" not in sentence


def test_unknown_values_are_not_foreign() -> None:
    """An unknown age is imputed, not out of range."""
    video = tiny_videos()[0]
    assert video.published_at is None
    assert notices.imputed(raw(video), MILES_V1) == ["log_age_hours", "log_views_per_hour"]


def test_times_in_order_need_no_words() -> None:
    """Only a publication after the observation is odd."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    assert notices.about_time(Video(title="x", published_at=early, observed_at=late)) == []
    assert len(notices.about_time(Video(title="x", published_at=late, observed_at=early))) == 1
