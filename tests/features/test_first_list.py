"""The eighteen columns of the first trained file: order, formulas, what is missing when it is not sent."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import example, given

from features import MILES_V0, FeatureScaler, Video, compute_features, features_named
from tests.features.test_registry import ACCEPTED_VIDEOS, EARLIEST, LATEST, TIMES


def test_the_first_list_is_in_the_order_of_its_file():
    """The first trained file stores these eighteen columns by position."""
    assert MILES_V0 == (
        "views",
        "likes",
        "comments",
        "shares",
        "saves",
        "engagement_rate",
        "completion_rate",
        "like_rate",
        "comment_ratio",
        "share_rate",
        "save_rate",
        "upload_hour",
        "is_weekend",
        "duration_sec",
        "title_length",
        "has_emoji",
        "creator_avg_views",
        "publish_dayofweek",
    )


FIRST_VIDEO = Video(
    title="Wow 🍳",
    view_count=1000,
    like_count=100,
    comment_count=10,
    duration_seconds=45.5,
    published_at=datetime(2024, 5, 3, 23, 59, tzinfo=UTC),  # a Friday
    share_count=40,
    save_count=50,
    completion_rate=0.75,
    creator_avg_views=12_345.0,
)


def test_the_first_list_by_hand():
    """Every formula of the first list for a video that says everything."""
    expected = [1000, 100, 10, 40, 50, 0.2, 0.75, 0.1, 0.01, 0.04, 0.05, 23, 1, 45.5, 5, 1, 12_345, 4]
    assert compute_features([FIRST_VIDEO], MILES_V0)[0].tolist() == expected


@pytest.mark.parametrize("views", [0, 10])
def test_what_a_request_cannot_supply_is_missing_from_the_first_list(views):
    """Unknown shares, saves and times are missing with all that follows from them, never zero."""
    row = compute_features([Video(title="a", view_count=views)], MILES_V0)[0]
    missing = {name for name, value in zip(MILES_V0, row, strict=True) if np.isnan(value)}
    assert missing == {
        "shares",
        "saves",
        "engagement_rate",
        "completion_rate",
        "share_rate",
        "save_rate",
        "upload_hour",
        "is_weekend",
        "creator_avg_views",
        "publish_dayofweek",
    }


def test_engagement_counts_what_its_list_counts():
    """Shares and saves are part of the first list's engagement rate, and of no later one's."""
    assert compute_features([FIRST_VIDEO], ["engagement_rate"]).tolist() == [[0.11]]
    assert compute_features([FIRST_VIDEO], ["engagement_rate", "shares"]).tolist() == [[0.2, 40]]


def test_rates_of_the_first_list_do_not_stop_at_one():
    """The first training did not clip its rates, so more likes than views are more than one."""
    row = compute_features([Video(title="a", view_count=10, like_count=25)], MILES_V0)[0]
    assert row[MILES_V0.index("like_rate")] == 2.5


@pytest.mark.parametrize(
    ("day", "weekday", "weekend"), [(2, 3, 0), (3, 4, 1), (4, 5, 1), (5, 6, 1), (6, 0, 0)]
)
def test_the_weekend_of_the_first_list_begins_on_friday(day, weekday, weekend):
    """Friday, Saturday and Sunday are its weekend; Monday is day 0."""
    video = Video(title="a", published_at=datetime(2024, 5, day, 12, tzinfo=UTC))
    assert compute_features([video], ["publish_dayofweek", "is_weekend"]).tolist() == [[weekday, weekend]]


@example(EARLIEST)
@example(LATEST)
@example(datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
@given(TIMES)
def test_hour_and_weekday_are_those_of_the_calendar(published):
    """Hour and weekday are UTC's for every time, the first and last of the calendar included."""
    hour, day = compute_features(
        [Video(title="a", published_at=published)], ["upload_hour", "publish_dayofweek"]
    )[0]
    if published is None:
        assert np.isnan([hour, day]).all()
    elif datetime.min.year < published.year < datetime.max.year:
        assert (hour, day) == (published.astimezone(UTC).hour, published.astimezone(UTC).weekday())
    else:  # where the calendar ends, UTC's day may lie beyond it
        assert 0 <= hour <= 23
        assert 0 <= day <= 6


@given(ACCEPTED_VIDEOS)
def test_every_accepted_video_has_finite_features_of_the_first_list(video):
    """The first list, too, keeps to its ranges, and what is scaled is finite."""
    row = compute_features([video], MILES_V0)
    for feature, value in zip(features_named(MILES_V0), row[0], strict=True):
        assert np.isnan(value) or feature.low <= value <= feature.high
    stats = {name: {"mean": 0.0, "scale": 1.0} for name in MILES_V0}
    assert np.isfinite(FeatureScaler.from_stats(stats, MILES_V0).transform(row)).all()
