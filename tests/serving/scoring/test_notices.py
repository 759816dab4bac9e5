"""Sentences about what a score rests on."""

from datetime import UTC, datetime

from features import MILES_V1, Video, compute_features
from serving.scoring import notices
from tests.support.tiny import tiny_videos


def test_unknown_values_are_named() -> None:
    """What depends on an age that a video does not say is imputed."""
    video = tiny_videos()[0]
    assert video.published_at is None
    raw = compute_features([video])[0]
    assert notices.imputed(raw, MILES_V1) == ["log_age_hours", "log_views_per_hour"]


def test_times_in_order_need_no_words() -> None:
    """Only a publication after the observation is odd."""
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    assert notices.about_time(Video(title="x", published_at=early, observed_at=late)) == []
    assert len(notices.about_time(Video(title="x", published_at=late, observed_at=early))) == 1
