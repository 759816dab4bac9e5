"""The eighteen columns of the first trained file: formulas, and features of fields that are not sent."""

from dataclasses import replace
from datetime import UTC, datetime, time

import numpy as np
from hypothesis import example, given

from features import MILES_V0, Video, compute_features
from tests.features.test_registry import EARLIEST, LATEST, TIMES, features_of

FULL = Video(
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
DAYS = {2: (3, 0), 3: (4, 1), 4: (5, 1), 5: (6, 1), 6: (0, 0)}
"""Day of May 2024 to weekday, Monday 0, and whether it is on a weekend: Friday, Saturday or Sunday."""


def test_the_first_list_by_hand() -> None:
    """Every formula of the first list for a video with every value known."""
    expected = [1000, 100, 10, 40, 50, 0.2, 0.75, 0.1, 0.01, 0.04, 0.05, 23, 1, 45.5, 5, 1, 12_345, 4]
    assert compute_features([FULL], MILES_V0)[0].tolist() == expected


def test_what_a_request_cannot_supply_is_missing_from_the_first_list() -> None:
    """Unknown shares, saves and times are missing, as is all computed from them, even at zero views."""
    sent = Video(title="a", view_count=0, like_count=0, comment_count=0, duration_seconds=0)
    missing = {name for name, value in features_of(sent, MILES_V0).items() if np.isnan(value)}
    assert missing == {
        *("shares", "saves", "engagement_rate", "completion_rate", "share_rate", "save_rate"),
        *("upload_hour", "is_weekend", "creator_avg_views", "publish_dayofweek"),
    }


def test_rates_of_the_first_list_count_shares_and_exceed_one() -> None:
    """Its engagement rate counts shares and saves, later ones do not; its training did not clip."""
    assert features_of(FULL, ["engagement_rate"]) == {"engagement_rate": 0.11}
    found = features_of(replace(FULL, like_count=2500), MILES_V0)
    assert (found["like_rate"], found["engagement_rate"]) == (2.5, 2.6)


def test_the_weekend_of_the_first_list_begins_on_friday() -> None:
    """Friday, Saturday and Sunday are its weekend; Monday is day 0. A date without a time has hour 0."""
    names = ["publish_dayofweek", "is_weekend", "upload_hour"]
    found = {
        day: compute_features([Video("a", published_at=datetime(2024, 5, day, 12, tzinfo=UTC))], names)[0]
        for day in DAYS
    }
    assert {day: tuple(row.tolist()) for day, row in found.items()} == {
        day: (*expected, 12) for day, expected in DAYS.items()
    }
    of_day = features_of(replace(FULL, published_at=datetime(2024, 5, 3, tzinfo=UTC)), names)
    assert of_day["publish_dayofweek"] == 4
    assert of_day["upload_hour"] == 0


@example(EARLIEST)
@example(LATEST)
@example(datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
@given(TIMES)
def test_hour_and_weekday_are_those_of_the_calendar(published: datetime | None) -> None:
    """Hour and weekday are in UTC for every time, including the calendar's first and last."""
    names = ["upload_hour", "publish_dayofweek"]
    hour, day = compute_features([Video(title="a", published_at=published)], names)[0]
    if published is None:
        assert np.isnan([hour, day]).all()
    elif datetime.min.year < published.year < datetime.max.year:
        in_utc = published.astimezone(UTC)
        assert day == in_utc.weekday()
        assert hour == in_utc.hour or (np.isnan(hour) and published.time() == time.min)
    else:  # where the calendar ends, UTC's day may lie beyond it
        assert np.isnan(hour) or 0 <= hour <= 23
        assert 0 <= day <= 6
