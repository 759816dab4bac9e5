"""The features: names, formulas and ranges, for one video and for a table of them."""

from datetime import UTC, datetime, timedelta, timezone
from math import log1p

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features import MILES_V1, REGISTRY, FeatureScaler, UnknownFeatureError, Video, compute_features
from features.registry import age_hours
from tests.support.tiny import tiny_scaler, tiny_videos

NAN = float("nan")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
AGE_FEATURES = {"log_age_hours", "log_views_per_hour"}

ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates too: JSON can carry them
COUNTS = st.integers(0, 2**63 - 1)
TIMES = st.none() | st.datetimes(
    timezones=st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
)
ACCEPTED_VIDEOS = st.builds(
    Video,
    title=st.text(ANY_CHARACTER, min_size=1, max_size=500),
    description=st.text(ANY_CHARACTER, max_size=500),
    view_count=COUNTS,
    like_count=COUNTS,
    comment_count=COUNTS,
    duration_seconds=st.floats(min_value=0, allow_infinity=False),
    published_at=TIMES,
    observed_at=TIMES,
)
EARLIEST = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
LATEST = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))


def features_of(video):
    """One video's features by name."""
    return dict(zip(MILES_V1, compute_features([video])[0].tolist(), strict=True))


def test_the_eighteen_names_are_in_the_published_order():
    """Checkpoints store columns by position, so names and order of miles-v1 never change."""
    assert MILES_V1 == (
        "log_view_count",
        "log_like_count",
        "log_comment_count",
        "log_duration_seconds",
        "like_rate",
        "comment_rate",
        "engagement_rate",
        "log_age_hours",
        "log_views_per_hour",
        "age_known",
        "title_length",
        "title_word_count",
        "description_word_count",
        "is_short",
        "has_description",
        "has_numbers",
        "has_question",
        "has_exclamation",
    )


def test_every_feature_explains_itself():
    """Each registered feature has its own name as key, a formula, a unit and a range."""
    for name, feature in REGISTRY.items():
        assert feature.name == name
        assert feature.formula
        assert feature.unit
        assert feature.low < feature.high


def test_a_full_video_by_hand():
    """Every formula, worked out by hand for a video that says everything."""
    video = Video(
        title="Why 3 cats?",
        description="Cats, and more cats.",
        view_count=999,
        like_count=99,
        comment_count=9,
        duration_seconds=59.0,
        published_at=NOON - timedelta(hours=9),
        observed_at=NOON,
    )
    assert features_of(video) == pytest.approx(
        {
            "log_view_count": log1p(999),
            "log_like_count": log1p(99),
            "log_comment_count": log1p(9),
            "log_duration_seconds": log1p(59),
            "like_rate": 99 / 999,
            "comment_rate": 9 / 999,
            "engagement_rate": 108 / 999,
            "log_age_hours": log1p(9),
            "log_views_per_hour": log1p(111),
            "age_known": 1,
            "title_length": 11,
            "title_word_count": 3,
            "description_word_count": 4,
            "is_short": 1,
            "has_description": 1,
            "has_numbers": 1,
            "has_question": 1,
            "has_exclamation": 0,
        },
        rel=1e-12,
    )


def test_a_bare_video_by_hand():
    """A title alone: no counts, thirty seconds by default, age unknown."""
    assert features_of(Video(title="a")) == pytest.approx(
        {
            **dict.fromkeys(MILES_V1, 0.0),
            "log_duration_seconds": log1p(30),
            "log_age_hours": NAN,
            "log_views_per_hour": NAN,
            "title_length": 1,
            "title_word_count": 1,
            "is_short": 1,
        },
        nan_ok=True,
    )


def test_rates_are_zero_at_zero_views():
    """Likes without views (a count that lags) are no rate at all."""
    features = features_of(Video(title="a", like_count=5, comment_count=7))
    assert [features[name] for name in ("like_rate", "comment_rate", "engagement_rate")] == [0, 0, 0]


def test_rates_stop_at_one():
    """More likes than views, which platforms do report, count as one like per view."""
    features = features_of(Video(title="a", view_count=10, like_count=50, comment_count=4))
    assert [features[name] for name in ("like_rate", "comment_rate", "engagement_rate")] == [1, 0.4, 1]


def test_a_publication_in_the_future_is_age_zero():
    """Clocks disagree: a video observed before it went up is new, not younger than new."""
    features = features_of(
        Video(title="a", view_count=7, published_at=NOON + timedelta(days=3), observed_at=NOON)
    )
    assert features["log_age_hours"] == 0
    assert features["age_known"] == 1


def test_views_per_hour_counts_at_least_one_hour():
    """Views of the first seconds do not become millions an hour."""
    young = Video(title="a", view_count=7, published_at=NOON - timedelta(seconds=2), observed_at=NOON)
    assert features_of(young)["log_views_per_hour"] == pytest.approx(log1p(7))


def test_age_needs_both_times():
    """With either time missing, the age is unknown."""
    for video in (Video(title="a", published_at=NOON), Video(title="a", observed_at=NOON)):
        features = features_of(video)
        assert features["age_known"] == 0
        assert np.isnan(features["log_age_hours"])


def test_age_is_the_same_in_every_zone():
    """Times are instants: the zone that they are written in does not matter."""
    east = timezone(timedelta(hours=9))
    videos = [
        Video(title="a", published_at=NOON - timedelta(hours=5), observed_at=NOON.astimezone(zone))
        for zone in (UTC, east)
    ]
    rows = compute_features(videos)
    assert rows[0].tobytes() == rows[1].tobytes()


@pytest.mark.parametrize(
    ("title", "flags"),
    [
        ("plain", (0, 0, 0)),
        ("top 10", (1, 0, 0)),
        ("عشرة ١٠", (1, 0, 0)),
        ("本当？", (0, 1, 0)),
        ("本当！", (0, 0, 1)),
        ("5 reasons?!", (1, 1, 1)),
    ],
)
def test_flags_know_other_scripts(title, flags):
    """Digits and full-width punctuation count in any script."""
    features = features_of(Video(title=title))
    assert (features["has_numbers"], features["has_question"], features["has_exclamation"]) == flags


def test_a_blank_description_is_none():
    """White space alone is no description."""
    features = features_of(Video(title="a", description=" \n\t "))
    assert (features["has_description"], features["description_word_count"]) == (0, 0)


@pytest.mark.parametrize(("seconds", "short"), [(60.0, 1), (60.001, 0), (0.0, 1)])
def test_a_minute_is_still_short(seconds, short):
    """Sixty seconds is the last duration that counts as short."""
    assert features_of(Video(title="a", duration_seconds=seconds))["is_short"] == short


@example(Video(title="a", view_count=2**63 - 1, published_at=EARLIEST, observed_at=LATEST))
@example(Video(title="a", view_count=2**63 - 1, published_at=LATEST, observed_at=EARLIEST))
@example(Video(title="\ud800", duration_seconds=1.7976931348623157e308))
@given(ACCEPTED_VIDEOS)
def test_every_accepted_video_has_finite_features(video):
    """Whatever a request may say, raw features keep to their ranges, scaled ones are finite.

    Only the two age features are missing, and only together, when the age is.
    """
    row = compute_features([video])[0]
    unknown = {name for name, value in zip(MILES_V1, row, strict=True) if np.isnan(value)}
    assert unknown == (AGE_FEATURES if age_hours(video) is None else set())
    for name, value in zip(MILES_V1, row, strict=True):
        assert name in unknown or REGISTRY[name].low <= value <= REGISTRY[name].high
    assert np.isfinite(tiny_scaler().transform([row])).all()


def test_unscaled_features_stay_finite():
    """Even constant training data, which teaches no range, gives finite inputs for the largest video."""
    scaler = FeatureScaler().fit(compute_features([Video(title="a")] * 2), MILES_V1)
    largest = Video(
        title="\U0010ffff" * 500,
        view_count=2**63 - 1,
        like_count=2**63 - 1,
        comment_count=2**63 - 1,
        duration_seconds=1.7976931348623157e308,
        published_at=EARLIEST,
        observed_at=LATEST,
    )
    assert np.isfinite(scaler.transform(compute_features([largest]))).all()


@given(st.lists(ACCEPTED_VIDEOS, min_size=1, max_size=9))
def test_a_row_in_a_table_equals_the_row_alone(videos):
    """Training's table and the service's single row are the same numbers, bit for bit."""
    table = compute_features(videos)
    alone = np.concatenate([compute_features([video]) for video in videos])
    assert table.tobytes() == alone.tobytes()


def test_many_rows_equal_the_rows_alone():
    """The same holds for a table long enough for every vectorised loop."""
    videos = tiny_videos(403)
    alone = np.concatenate([compute_features([video]) for video in videos])
    assert compute_features(videos).tobytes() == alone.tobytes()


def test_columns_follow_the_names_asked_for():
    """Any subset in any order is computed under its own names."""
    video = Video(title="two words", view_count=9)
    assert compute_features([video], ["title_word_count", "log_view_count"]).tolist() == [[2, log1p(9)]]


def test_no_videos_are_no_rows():
    """An empty table keeps its width."""
    assert compute_features([]).shape == (0, len(MILES_V1))


def test_an_unknown_feature_is_named():
    """A name that this version does not define is refused by name, beside those that it does."""
    with pytest.raises(UnknownFeatureError, match=r"unknown features shoe_size; .* log_view_count, "):
        compute_features([Video(title="a")], ["log_view_count", "shoe_size"])
