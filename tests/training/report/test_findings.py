"""A report's figures, compared with the evaluation and with plain calculations."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from features import Video
from tests.training.report import reported
from tests.training.synthetic import dataset
from training.measure.compare import BOOSTING, MODEL
from training.measure.conditions import age_groups, size_groups
from training.measure.evaluation import measure
from training.measure.metrics import plain
from training.measure.scorer import predict
from training.report.importance import FACTS, THUMBNAIL, fact_importance


def test_the_rows_are_those_of_the_evaluation(found):
    """The figures of the checkpoint, and the gain from the text, are those that training.evaluate prints."""
    expected = measure(reported.scorer(), dataset())
    assert found.comparisons.keys() == expected.answers.keys()
    for name, comparison in found.comparisons.items():
        assert plain(comparison.rows[MODEL]) == pytest.approx(plain(expected.rows[name]), abs=1e-5)
    for figure, interval in expected.gains["text"][expected.first].items():
        assert plain(found.modalities["text"][figure]) == pytest.approx(plain(interval), abs=1e-5)


def test_an_older_checkpoint_is_measured_on_the_same_rows():
    """Its figures by condition, in the drift table."""
    found = reported.findings()
    assert found.drift["old.pt"] == {
        name: comparison.rows[MODEL] for name, comparison in found.comparisons.items()
    }


def test_the_tenths_add_up_to_the_calibration_error(found):
    """Weighted by their rows, the distances in the reliability diagram give the calibration error."""
    for name, bins in found.reliability.items():
        rows = sum(each.share.rows for each in bins)
        away = sum(each.share.rows * abs(each.mean_score - each.share.mean) for each in bins) / rows
        assert rows == len(dataset().test)
        assert away == pytest.approx(found.comparisons[name].rows[MODEL].ece)


def test_the_errors_of_all_groups_are_the_error(found):
    """By age, by size and by known values, the groups have all rows and their mean is the MAE."""
    for name, bin_ in zip(found.comparisons, found.error_by_known, strict=True):
        assert bin_.model.rows == len(dataset().test)
        assert bin_.model.mean == pytest.approx(found.comparisons[name].rows[MODEL].mae)
    for bins in (found.error_by_age, found.error_by_size):
        rows = np.array([each.model.rows for each in bins])
        assert rows.sum() == len(dataset().test)
        for errors, name in (
            ([each.model.mean for each in bins], MODEL),
            ([each.boosting for each in bins], BOOSTING),
        ):
            assert np.average(errors, weights=rows) == pytest.approx(found.full.rows[name].mae)


def test_a_video_is_in_the_group_of_its_age_and_of_its_views():
    """A limit belongs to the older or larger group; an unknown age has a group of its own."""
    split = dataset().test
    video, failures = split.videos[0], []
    ages = {0: "under 1 day", 23.9: "under 1 day", 24: "1 to 2 days", 400: "over 2 weeks", None: "unknown"}
    for hours, label in ages.items():
        published = None if hours is None else video.observed_at - timedelta(hours=hours)
        bins, labels = age_groups(replace(split, videos=[replace(video, published_at=published)]))
        failures += [(hours, labels[bins[0]])] * (labels[bins[0]] != label)
    for views, label in {0: "under 10 k", 10_000: "10 to 100 k", 10**9: "over 10 M"}.items():
        bins, labels = size_groups(replace(split, videos=[replace(video, view_count=views)]))
        failures += [(views, labels[bins[0]])] * (labels[bins[0]] != label)
    assert failures == []


def test_gains_are_differences_of_the_rows(found):
    """Each paired difference is that of the two models' own figures, inside its interval."""
    for comparison in found.comparisons.values():
        for name, gain in comparison.differences.items():
            for figure, interval in gain.items():
                own, other = (getattr(comparison.rows[each], figure) for each in (MODEL, name))
                assert interval.difference == pytest.approx(own - other, abs=1e-9)
                assert interval.low <= interval.difference <= interval.high


def test_without_thumbnails_the_image_adds_nothing(found):
    image = found.modalities["image"].values()
    assert {(each.low, each.difference, each.high) for each in image} == {(0, 0, 0)}
    assert THUMBNAIL not in {each.name for each in found.facts}


def test_thumbnails_move_scores_where_there_are_some():
    """With a vector for each row, exchanging them is one of the facts that move the score."""
    moved = {each.name: each for each in fact_importance(reported.scorer(with_images=True), dataset().test)}
    assert moved[THUMBNAIL].score_change > 0


def test_an_exchanged_age_moves_scores_as_a_request_would(found):
    """The age's effect is that of predicting the same rows with other rows' times."""
    test, moved = dataset().test, []
    text = reported.texts().of(test.videos)
    whole = predict(reported.engine(), reported.checkpoint(), test, text)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(test))
        videos = [
            replace(own, published_at=test.videos[row].published_at, observed_at=test.videos[row].observed_at)
            for own, row in zip(test.videos, order, strict=True)
        ]
        after = predict(reported.engine(), reported.checkpoint(), replace(test, videos=videos), text)
        lost = roc_auc_score(test.is_viral, whole.viral) - roc_auc_score(test.is_viral, after.viral)
        moved.append((np.abs(after.viral - whole.viral).mean(), lost))
    age = next(each for each in found.facts if each.name == "age")
    assert (age.score_change, age.auroc_lost) == pytest.approx(tuple(np.mean(moved, axis=0)), abs=1e-6)


def test_an_exchanged_count_keeps_its_share_of_the_views():
    """Ten times the views bring ten times the likes; likes per view are exchanged on a video's own views."""
    small, large = Video("a", view_count=1000, like_count=30, comment_count=4), Video("b", view_count=10_000)
    changed = FACTS["views"](small, large)
    assert (changed.view_count, changed.like_count, changed.comment_count) == (10_000, 300, 40)
    assert changed.title == "a"
    own, other = Video("a", view_count=1000), Video("b", view_count=100, like_count=10, comment_count=1)
    per_view = FACTS["likes and comments per view"]
    changed = per_view(own, other)
    assert (changed.view_count, changed.like_count, changed.comment_count) == (1000, 100, 10)
    assert per_view(own, Video("unknown")).like_count is None


def test_only_facts_that_vary_are_listed_the_largest_first(found):
    """The synthetic rows have one length and no description: neither is listed."""
    assert {each.name for each in found.facts} == {"age", "views", "likes and comments per view", "words"}
    changes = [each.score_change for each in found.facts]
    assert changes == sorted(changes, reverse=True)
    assert changes[-1] > 0
