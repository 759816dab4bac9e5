"""Warnings about a score: few, in everyday units, none for an ordinary video."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from features import MILES_V0, MILES_V1, MILES_V2, FeatureScaler, Video, compute_features, fit_distributions
from serving.scoring.warnings import RangeCheck, ignored_warnings, imputed, video_warnings, weightless_fields
from tests.support.tiny import FIRST_DAY

TRENDING = "videos that were already trending"
SCRIPTS = {"Latin": 0.998, "Hangul": 0.002}


def training_videos(count: int = 4000) -> list[Video]:
    """Videos with at least 10,000 views, a day to a month old."""
    draw = np.random.default_rng(11)
    videos = []
    for _ in range(count):
        views = int(10 ** draw.uniform(4, 7))
        videos.append(
            Video(
                title=" ".join(["word"] * int(draw.integers(2, 12))),
                view_count=views,
                like_count=int(views * draw.uniform(0.01, 0.1)),
                comment_count=int(views * draw.uniform(0.001, 0.01)),
                duration_seconds=float(draw.uniform(20, 600)),
                published_at=FIRST_DAY,
                observed_at=FIRST_DAY + timedelta(hours=float(draw.uniform(24, 720))),
            )
        )
    return videos


ROWS = compute_features(training_videos(), MILES_V1)
SCALER = FeatureScaler().fit(ROWS, MILES_V1)
ORDINARY = Video(
    title="five words for a title",
    view_count=300_000,
    like_count=15_000,
    comment_count=1500,
    duration_seconds=200.0,
    published_at=FIRST_DAY,
    observed_at=FIRST_DAY + timedelta(hours=200),
)


def about(video: Video, **changes: Any) -> list[str]:
    """The sentences about one video."""
    known: dict[str, Any] = {
        "scaler": SCALER,
        "distributions": fit_distributions(ROWS, MILES_V1),
        "scripts": SCRIPTS,
        "provenance": {"data": {"population": TRENDING}},
    }
    compared = RangeCheck(**(known | changes))
    return compared.check(compute_features([video], MILES_V1)[0], video.title, video.observed_at)[1]


def test_an_ordinary_video_has_no_warning() -> None:
    """A video in the middle of the training rows has no warning; nor has one of unknown age."""
    assert about(ORDINARY) == []
    assert about(replace(ORDINARY, published_at=None)) == []


def test_training_videos_are_rarely_warned_about() -> None:
    """Fewer than one in twenty of the training videos themselves get a warning."""
    compared = RangeCheck(SCALER, fit_distributions(ROWS, MILES_V1), SCRIPTS, {})
    warned = sum(bool(compared.check(row, "some words", None)[1]) for row in ROWS)
    assert warned < len(ROWS) / 20


def test_a_small_video_is_compared_with_the_training_data() -> None:
    """What puts it out of range is said once, with the training data's range and population."""
    small = replace(ORDINARY, view_count=10_020, like_count=10, comment_count=1)
    likes, trained_on = about(small)
    assert likes.startswith("The like count, 10, is below all of the training data (105 to ")
    assert trained_on == f"The model was trained on {TRENDING}; this score is an extrapolation."


def test_beyond_all_rows_the_nearest_counts() -> None:
    """A count beyond all training rows is scored as the nearest one, and the warning says so."""
    views = about(replace(ORDINARY, view_count=5))[0]
    assert "is below all of the training data (10,0" in views
    assert views.endswith("it was taken as 10,013.")


def test_what_puts_a_video_out_of_range_comes_first() -> None:
    """More likes per view than in any training row are reported instead of an unusual view count."""
    check = RangeCheck(SCALER, fit_distributions(ROWS, MILES_V1), SCRIPTS, {})
    liked = replace(ORDINARY, view_count=10_020, like_count=9000, comment_count=20)
    in_range, (likes,) = check.check(compute_features([liked], MILES_V1)[0], liked.title, None)
    assert not in_range
    assert likes.startswith("The number of likes per 100 views, 89.8, is above all of the training data")


def test_each_topic_is_said_once_and_no_more_than_three() -> None:
    """Views, age, length and title far out of range give three sentences and the one about the training."""
    strange = Video(
        title="x" * 400,
        view_count=10**12,
        like_count=10**12,
        duration_seconds=86_400.0,
        published_at=FIRST_DAY,
        observed_at=FIRST_DAY + timedelta(days=4000),
    )
    sentences = about(strange)
    assert [sentence.split(",")[0] for sentence in sentences[:3]] == [
        "The view count",
        "The video's age",
        "The video's length",
    ]
    assert "1 trillion" in sentences[0]
    assert "11 years" in sentences[1]
    assert "24 hours" in sentences[2]
    assert len(sentences) == 4


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Утренняя рутина", "Cyrillic script, which does not occur in the"),
        ("방탄소년단", "Hangul script, which occurs in only 0.2% of the"),
    ],
)
def test_a_script_that_is_rare_in_training_is_named(title: str, words: str) -> None:
    """The script is named with its share of the training titles."""
    script, _ = about(replace(ORDINARY, title=title), scaler=_without_titles())
    assert words in script


def test_a_script_is_not_guessed_at() -> None:
    """Without letters, or without the scripts of the training titles, there is no warning."""
    assert about(replace(ORDINARY, title="123 456 789")) == []
    assert about(replace(ORDINARY, title="Утренняя рутина сегодня"), scripts={}) == []


def test_without_distributions_the_range_remains() -> None:
    """A checkpoint that has only the lowest and highest values warns about values beyond them."""
    assert (
        about(replace(ORDINARY, view_count=10_020, like_count=500, comment_count=50), distributions={}) == []
    )
    (views,) = about(replace(ORDINARY, view_count=5), distributions={}, provenance={})
    assert "taken as 10,013" in views


def test_no_sentence_shows_a_logarithm() -> None:
    """The features are logarithms; the sentences have plain numbers."""
    text = " ".join(about(replace(ORDINARY, view_count=10**15, duration_seconds=1.0)))
    assert "log" not in text
    assert "34.5" not in text  # log1p of those views


def test_the_population_is_the_checkpoints() -> None:
    """It is read from the provenance, and anything there other than text is not repeated."""
    row = compute_features([replace(ORDINARY, view_count=5)], MILES_V1)[0]
    for provenance, said in (
        ({"data": {"population": TRENDING}}, True),
        ({"data": {"population": 7}}, False),
        ({"data": "generated"}, False),
        ({}, False),
    ):
        sentences = RangeCheck(SCALER, {}, {}, provenance).check(row, "", None)[1]
        assert any(TRENDING in sentence for sentence in sentences) is said, provenance
        assert "7" not in sentences[-1] or not said


OBSERVED = {"data": {"observed": {"train": "2017-11-14 to 2018-03-13"}}}
OUT_OF_RANGE: dict[str, tuple[bool, dict[str, Any]]] = {
    "an ordinary video": (True, {}),
    "of unknown age": (True, {"published_at": None}),
    "unusual, but not beyond the training data": (
        True,
        {"view_count": 10_020, "like_count": 300, "comment_count": 30},
    ),
    "more views than any training row": (False, {"view_count": 10**12, "published_at": None}),
    "a script that a few training titles have": (True, {"title": "방탄소년단"}),
    "a script that no training title has": (False, {"title": "Утренняя рутина"}),
    "observed within a year of the training data": (True, {"observed_at": datetime(2019, 3, 1, tzinfo=UTC)}),
    "observed two years after": (False, {"observed_at": datetime(2020, 3, 1, tzinfo=UTC)}),
    "observed two years before": (False, {"observed_at": datetime(2015, 11, 1, tzinfo=UTC)}),
    "observed on the last day of all": (False, {"observed_at": datetime.max.replace(tzinfo=UTC)}),
}


def test_only_a_value_that_training_never_had_is_out_of_range() -> None:
    """Numbers beyond all rows, scripts that no title has, and observations far from the training data's."""
    check, failures = RangeCheck(_without_titles(), {}, SCRIPTS, OBSERVED), []
    for case, (expected, changes) in OUT_OF_RANGE.items():
        video = replace(ORDINARY, **{"published_at": None, **changes})
        raw = compute_features([video], MILES_V1)[0]
        in_range, sentences = check.check(raw, video.title, video.observed_at)
        if in_range is not expected or (not expected and not sentences):
            failures.append(f"{case}: {in_range}, {sentences}")
    assert failures == []


def test_a_far_observation_is_warned_about_with_both_dates() -> None:
    """The warning has the observation, its distance and the training data's first and last day."""
    check = RangeCheck(SCALER, {}, {}, OBSERVED)
    raw = np.full(len(MILES_V1), np.nan)
    assert check.check(raw, "", datetime(2026, 8, 1, tzinfo=UTC))[1] == [
        "observed_at, 2026-08-01, is 8.4 years after the training data (2017-11-14 to 2018-03-13)."
    ]


def _without_titles() -> FeatureScaler:
    """The scaler without ranges for the title's length, so that short titles are not warned about."""
    stats = SCALER.to_stats()
    for name in ("title_length", "title_word_count"):
        stats[name] |= {"low": None, "high": None}
    return FeatureScaler.from_stats(stats, MILES_V1)


IMPUTED: list[tuple[dict[str, Any], tuple[str, ...], list[str]]] = [
    ({}, MILES_V1, []),
    ({}, MILES_V2, ["previous_view_count", "previous_observed_at"]),
    ({"like_count": None}, MILES_V1, ["like_count"]),
    ({"view_count": None, "duration_seconds": None}, MILES_V1, ["view_count", "duration_seconds"]),
    ({"published_at": None}, MILES_V1, ["published_at"]),
    ({"observed_at": FIRST_DAY}, MILES_V1, ["published_at"]),
    ({}, MILES_V0, ["share_count", "save_count", "completion_rate", "creator_avg_views"]),
]


def test_fields_that_are_unknown_are_named() -> None:
    """Only fields that the list of features reads, and a date where an age in hours is needed."""
    failures = []
    for changes, names, expected in IMPUTED:
        video = replace(ORDINARY, **changes)
        found = imputed(video, compute_features([video], names)[0], names)
        if found != expected:
            failures.append((changes, found))
    assert failures == []


NOON = FIRST_DAY + timedelta(hours=12)
SAID: list[tuple[dict[str, Any], str | None]] = [
    ({}, None),
    ({"published_at": NOON, "observed_at": NOON + timedelta(hours=1)}, None),
    (
        {"published_at": NOON + timedelta(hours=1), "observed_at": NOON},
        "published_at is later than observed_at",
    ),
    (
        {"published_at": FIRST_DAY, "observed_at": NOON},
        "published_at is a date without a time (exactly midnight)",
    ),
    ({"published_at": FIRST_DAY, "observed_at": FIRST_DAY + timedelta(hours=49)}, None),
    (
        {"published_at": NOON, "observed_at": FIRST_DAY},
        "observed_at is a date without a time (exactly midnight)",
    ),
    ({"previous_view_count": 300_001}, "view_count is lower than previous_view_count"),
    ({"previous_view_count": 300_000}, None),
    ({"view_count": None, "previous_view_count": 5}, "previous_view_count has no effect without view_count"),
    (
        {"published_at": NOON, "previous_observed_at": NOON - timedelta(hours=1)},
        "previous_observed_at is earlier than published_at",
    ),
    ({"previous_observed_at": FIRST_DAY + timedelta(days=7)}, "previous_observed_at is a date without"),
    ({"previous_observed_at": FIRST_DAY + timedelta(days=5)}, None),
    ({"title": "Tom &amp; Jerry&#39;s best"}, "The title has HTML entities such as &amp;;"),
    ({"title": "it&#x27;s"}, "The title has HTML entities such as &#x27;;"),
    ({"description": "a &lt; b"}, "The description has HTML entities such as &lt;;"),
    ({"title": "R&D; AT&T; Q&A &more"}, None),
]


def test_values_that_say_less_than_they_seem_to_are_warned_about() -> None:
    """Contradictory times, dates alone, falling counts and HTML; an ordinary video gets no warning."""
    failures = []
    for changes, expected in SAID:
        found = video_warnings(replace(ORDINARY, **changes))
        if [sentence[: len(expected or "")] for sentence in found] != ([expected] if expected else []):
            failures.append((changes, found))
    assert failures == []


def test_given_fields_without_weight_are_named_once() -> None:
    """A description that is not read, a length that never varied, and fields of another list of features."""
    title, both = ("title",), ("title", "description")
    constant = compute_features(
        [replace(video, duration_seconds=30.0) for video in training_videos(50)], MILES_V1
    )
    weightless = weightless_fields(FeatureScaler().fit(constant, MILES_V1), title)
    video = replace(ORDINARY, description="A recipe.", share_count=3)
    assert ignored_warnings(video, weightless, title) == [
        "This checkpoint ignores description, duration_seconds and share_count; the score does "
        "not depend on them."
    ]
    assert ignored_warnings(replace(ORDINARY, duration_seconds=None), weightless, title) == []
    assert "description" not in weightless_fields(FeatureScaler().fit(constant, MILES_V1), both)


def test_a_description_of_which_only_the_length_counts_is_warned_about() -> None:
    """Not if the text encoder reads its words."""
    described = [
        replace(each, description="word " * (1 + i % 3)) for i, each in enumerate(training_videos(50))
    ]
    scaler = FeatureScaler().fit(compute_features(described, MILES_V1), MILES_V1)
    video, told = replace(ORDINARY, description="A recipe."), []
    for fields in (("title",), ("title", "description")):
        told.append(ignored_warnings(video, weightless_fields(scaler, fields), fields))
    assert told == [["This checkpoint reads only the length of the description, not its words."], []]


def test_only_a_video_out_of_range_is_called_an_extrapolation() -> None:
    """Both warnings name the population, also for a video that is only unusual."""
    unusual = replace(ORDINARY, view_count=10_100, like_count=300, comment_count=30)
    assert about(unusual)[-1] == f"The model was trained on {TRENDING}."
    beyond = replace(ORDINARY, view_count=10**12)
    assert about(beyond)[-1] == f"The model was trained on {TRENDING}; this score is an extrapolation."
