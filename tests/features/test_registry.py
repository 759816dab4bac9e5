"""The features: names, formulas and ranges, for one video and for a table of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from math import log1p

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features import (
    MILES_V0,
    MILES_V1,
    MILES_V2,
    REGISTRY,
    FeatureScaler,
    UnknownFeatureError,
    Video,
    compute_features,
    features_named,
)
from tests.support.tiny import tiny_videos

NAN = float("nan")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2024, 5, 1, tzinfo=UTC)
EVERY_NAME = tuple(dict.fromkeys((*MILES_V2, *MILES_V1)))

ANY_CHARACTER = st.characters(exclude_categories=())  # lone surrogates too: JSON can carry them
COUNTS = st.none() | st.integers(0, 2**63 - 1)
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
    duration_seconds=st.none() | st.floats(min_value=0, allow_infinity=False),
    published_at=TIMES,
    observed_at=TIMES,
    previous_view_count=COUNTS,
    previous_observed_at=TIMES,
)
EARLIEST = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
LATEST = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
FULL = Video(
    title="Why 3 cats?",
    description="Cats, and more cats.",
    view_count=999,
    like_count=99,
    comment_count=9,
    duration_seconds=59.0,
    published_at=NOON - timedelta(hours=9),
    observed_at=NOON,
    previous_view_count=99,
    previous_observed_at=NOON - timedelta(hours=6),
)
FULL_BY_HAND = {
    "log_view_count": log1p(999),
    "log_like_count": log1p(99),
    "log_comment_count": log1p(9),
    "log_duration_seconds": log1p(59),
    "like_rate": 99 / 999,
    "comment_rate": 9 / 999,
    "engagement_rate": 108 / 999,
    "log_age_hours": log1p(9),
    "log_views_per_hour": log1p(111),
    "log_recent_views_per_hour": log1p(150),
    "views_known": 1,
    "reactions_known": 1,
    "age_known": 1,
    "history_known": 1,
    "title_length": 11,
    "title_word_count": 3,
    "description_word_count": 4,
    "is_short": 1,
    "has_description": 1,
    "has_numbers": 1,
    "has_question": 1,
    "has_exclamation": 0,
}
# Columns are stored by position, so names and order never change.
LISTS = {
    MILES_V0: "views likes comments shares saves engagement_rate completion_rate like_rate comment_ratio "
    "share_rate save_rate upload_hour is_weekend duration_sec title_length has_emoji creator_avg_views "
    "publish_dayofweek",
    MILES_V1: "log_view_count log_like_count log_comment_count log_duration_seconds like_rate comment_rate "
    "engagement_rate log_age_hours log_views_per_hour age_known title_length title_word_count "
    "description_word_count is_short has_description has_numbers has_question has_exclamation",
    MILES_V2: "log_view_count log_like_count log_comment_count log_duration_seconds like_rate comment_rate "
    "log_age_hours log_views_per_hour log_recent_views_per_hour views_known reactions_known age_known "
    "history_known title_length title_word_count description_word_count is_short has_numbers",
}
# Changes to FULL, and the features that then differ from FULL_BY_HAND.
UNKNOWN_REACTION: dict[str, float] = {"engagement_rate": NAN, "reactions_known": 0}
UNKNOWN_HISTORY = {"log_recent_views_per_hour": NAN, "history_known": 0}
CHANGES: list[tuple[Mapping[str, object], Mapping[str, float]]] = [
    (
        {"view_count": None},
        {
            **dict.fromkeys(("log_view_count", "like_rate", "comment_rate", "engagement_rate"), NAN),
            **{"log_views_per_hour": NAN, "log_recent_views_per_hour": NAN},
            **{"views_known": 0, "history_known": 0},
        },
    ),
    ({"like_count": None}, {"log_like_count": NAN, "like_rate": NAN, **UNKNOWN_REACTION}),
    ({"comment_count": None}, {"log_comment_count": NAN, "comment_rate": NAN, **UNKNOWN_REACTION}),
    ({"like_count": 0}, {"log_like_count": 0, "like_rate": 0, "engagement_rate": 9 / 999}),
    (
        {"view_count": 0},
        {
            **dict.fromkeys(("log_view_count", "like_rate", "comment_rate", "engagement_rate"), 0),
            **{"log_views_per_hour": 0, "log_recent_views_per_hour": 0},
        },
    ),
    ({"like_count": 5000}, {"log_like_count": log1p(5000), "like_rate": 1, "engagement_rate": 1}),
    ({"duration_seconds": None}, {"log_duration_seconds": NAN, "is_short": NAN}),
    ({"duration_seconds": 60.0}, {"log_duration_seconds": log1p(60)}),
    ({"duration_seconds": 60.001}, {"log_duration_seconds": log1p(60.001), "is_short": 0}),
    ({"duration_seconds": 0.0}, {"log_duration_seconds": 0}),
    ({"published_at": None}, {"log_age_hours": NAN, "log_views_per_hour": NAN, "age_known": 0}),
    (
        {"observed_at": None},
        {
            **{"log_age_hours": NAN, "log_views_per_hour": NAN, "age_known": 0},
            **{"log_recent_views_per_hour": NAN, "history_known": 0},
        },
    ),
    ({"published_at": NOON + timedelta(days=3)}, {"log_age_hours": 0, "log_views_per_hour": log1p(999)}),
    (
        {"published_at": NOON - timedelta(seconds=1800)},
        {"log_age_hours": log1p(0.5), "log_views_per_hour": log1p(999)},
    ),
    ({"published_at": (NOON - timedelta(hours=9)).astimezone(timezone(timedelta(hours=9)))}, {}),
    ({"published_at": MIDNIGHT}, {"log_age_hours": NAN, "log_views_per_hour": NAN, "age_known": 0}),
    (
        {"published_at": NOON - timedelta(hours=47), "observed_at": MIDNIGHT}
        | {"previous_observed_at": MIDNIGHT - timedelta(hours=6)},
        {"log_age_hours": NAN, "log_views_per_hour": NAN, "age_known": 0, **UNKNOWN_HISTORY},
    ),
    (
        {"published_at": MIDNIGHT - timedelta(days=2)},
        {"log_age_hours": log1p(60), "log_views_per_hour": log1p(999 / 60)},
    ),
    ({"previous_view_count": None}, UNKNOWN_HISTORY),
    ({"previous_observed_at": None}, UNKNOWN_HISTORY),
    ({"previous_observed_at": MIDNIGHT - timedelta(days=1)}, UNKNOWN_HISTORY),
    ({"previous_observed_at": MIDNIGHT - timedelta(days=2)}, {"log_recent_views_per_hour": log1p(900 / 60)}),
    (
        {"published_at": NOON - timedelta(days=9), "observed_at": MIDNIGHT}
        | {"previous_observed_at": MIDNIGHT - timedelta(days=1)},
        {
            "log_age_hours": log1p(204),
            "log_views_per_hour": log1p(999 / 204),
            "log_recent_views_per_hour": log1p(900 / 24),
        },
    ),
    ({"previous_view_count": 5000}, {"log_recent_views_per_hour": 0}),
    ({"previous_observed_at": NOON - timedelta(minutes=6)}, {"log_recent_views_per_hour": log1p(900)}),
    ({"description": " \n\t "}, {"description_word_count": 0, "has_description": 0}),
    ({"title": "عشرة ١٠"}, {"title_length": 7, "title_word_count": 2, "has_question": 0}),
    ({"title": "本当？"}, {"title_length": 3, "title_word_count": 1, "has_numbers": 0}),
    (
        {"title": "本当！"},
        {"title_length": 3, "title_word_count": 1}
        | {"has_numbers": 0, "has_question": 0, "has_exclamation": 1},
    ),
]


def features_of(video: Video, names: Sequence[str] = EVERY_NAME) -> dict[str, float]:
    """One video's features by name."""
    return dict(zip(names, compute_features([video], names)[0].tolist(), strict=True))


def test_names_and_order_of_the_lists_never_change() -> None:
    """Checkpoints store columns by position."""
    assert {names: " ".join(names) for names in LISTS} == LISTS
    assert {len(names) for names in LISTS} == {18}


def test_every_feature_explains_itself() -> None:
    """Each registered feature has its own name as key, a formula that names what it reads, and a range."""
    wrong = [
        name
        for name, each in REGISTRY.items()
        if each.name != name or not each.reads or not each.unit or not each.low < each.high
    ]
    assert wrong == []


def test_every_formula_by_hand() -> None:
    """A video with every value known, and what each change to it changes; unknown is never 0."""
    failures = []
    for changes, differing in [({}, {}), *CHANGES]:
        found = features_of(replace(FULL, **changes))
        if found != pytest.approx(FULL_BY_HAND | differing, rel=1e-12, nan_ok=True):
            failures.append((changes, found))
    assert failures == []


def test_a_title_alone_has_only_text_features() -> None:
    """Without numbers and times only text features are known, in every list; the indicators are 0."""
    known = {
        names: {name for name, value in features_of(Video("a"), names).items() if not np.isnan(value)}
        for names in LISTS
    }
    indicators = {"views_known", "reactions_known", "age_known", "history_known"}
    assert known[MILES_V2] == {*indicators, *MILES_V2[13:16], "has_numbers"}
    assert known[MILES_V1] == {"age_known", *MILES_V1[10:13], *MILES_V1[14:]}
    assert known[MILES_V0] == {"title_length", "has_emoji"}
    assert {features_of(Video("a"))[name] for name in indicators} == {0}


@example(Video(title="a", view_count=2**63 - 1, published_at=EARLIEST, observed_at=LATEST))
@example(Video(title="a", view_count=2**63 - 1, published_at=LATEST, observed_at=EARLIEST))
@example(Video(title="\ud800", duration_seconds=1.7976931348623157e308))
@given(ACCEPTED_VIDEOS)
def test_every_accepted_video_has_finite_features(video: Video) -> None:
    """Raw features stay in their ranges or are missing, scaled ones are finite, whatever the request."""
    for names in LISTS:
        row = compute_features([video], names)
        for feature, value in zip(features_named(names), row[0], strict=True):
            assert np.isnan(value) or feature.low <= value <= feature.high, feature.name
        scaler = FeatureScaler().fit(compute_features(tiny_videos(), names), names)
        assert np.isfinite(scaler.transform(row)).all()


def test_unscaled_features_stay_finite() -> None:
    """Even constant training data, which teaches no range, gives finite inputs for the largest video."""
    scaler = FeatureScaler().fit(compute_features([FULL] * 2, MILES_V2), MILES_V2)
    largest = Video(
        title="\U0010ffff" * 500,
        view_count=2**63 - 1,
        like_count=2**63 - 1,
        comment_count=2**63 - 1,
        duration_seconds=1.7976931348623157e308,
        published_at=EARLIEST,
        observed_at=LATEST,
        previous_view_count=0,
        previous_observed_at=EARLIEST,
    )
    assert np.isfinite(scaler.transform(compute_features([largest], MILES_V2))).all()


@given(st.lists(ACCEPTED_VIDEOS, min_size=1, max_size=9))
def test_a_row_in_a_table_equals_the_row_alone(videos: list[Video]) -> None:
    """Training's table and the service's single row hold the same numbers, bit for bit."""
    table = compute_features(videos, MILES_V2)
    alone = np.concatenate([compute_features([video], MILES_V2) for video in videos])
    assert table.tobytes() == alone.tobytes()


def test_many_rows_equal_the_rows_alone() -> None:
    """The same holds for a table long enough for every vectorised loop."""
    videos = tiny_videos(403)
    alone = np.concatenate([compute_features([video], MILES_V2) for video in videos])
    assert compute_features(videos, MILES_V2).tobytes() == alone.tobytes()


def test_columns_follow_the_names_asked_for() -> None:
    video = Video(title="two words", view_count=9)
    assert compute_features([video], ["title_word_count", "log_view_count"]).tolist() == [[2, log1p(9)]]
    assert compute_features([], MILES_V2).shape == (0, 18)


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(UnknownFeatureError, match=r"unknown features shoe_size; .* log_view_count, "):
        compute_features([Video(title="a")], ["log_view_count", "shoe_size"])
