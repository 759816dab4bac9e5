"""What a report finds, against the evaluation, scikit-learn, and the same thing done by hand."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from features import MILES_V1, Video
from tests.training.report import reported
from tests.training.synthetic import dataset
from training.data.dataset import without_age
from training.evaluate import measure, predict
from training.metrics import calibration_error
from training.report.findings import AGES, MODEL, absolute_error, age_bins, size_bins
from training.report.importance import FACTS, THUMBNAIL, fact_importance
from training.report.resampling import binned_means, weighted_average_precision


@pytest.fixture(scope="module")
def found():
    return reported.findings()


def test_the_scores_are_those_of_the_evaluation():
    """With the age and without it, a report judges exactly what training.evaluate judges."""
    test, text = dataset().test, reported.texts().of(dataset().test.videos)
    for known in (True, False):
        expected = predict(reported.engine(), reported.checkpoint(), test, text, with_age=known)
        own = reported.scorer().predict(reported.scorer().inputs(test, with_age=known), test)
        np.testing.assert_allclose(own.viral, expected.viral, atol=1e-6)
        np.testing.assert_allclose(own.log_velocity, expected.log_velocity, atol=1e-5)


def test_the_rows_are_those_of_the_evaluation(found):
    """Every figure of the checkpoint is the one that training.evaluate prints, as is what the text adds."""
    expected = measure(reported.engine(), reported.checkpoint(), dataset(), reported.texts())
    for age in AGES:
        own = found.rows[age][MODEL].to_dict()
        assert own == pytest.approx(expected.rows[age].to_dict(), abs=1e-5)
    text = next(each for each in found.modalities if each.modality == "text")
    for figure, interval in expected.text_gain["with age"].items():
        assert text.gain[figure].to_dict() == pytest.approx(interval.to_dict(), abs=1e-5)


def test_the_tenths_add_up_to_the_calibration_error(found):
    """Weighted by their rows, the distances in the reliability diagram are the calibration error."""
    for age, bins in found.reliability.items():
        answer = found.answers[age][MODEL].test
        rows = sum(each.share.rows for each in bins)
        away = sum(each.share.rows * abs(each.mean_score - each.share.mean) for each in bins) / rows
        assert rows == len(answer.viral)
        assert away == pytest.approx(calibration_error(answer.is_viral, answer.viral))


def test_the_errors_of_all_groups_are_the_error(found):
    """By age and by size alike, the groups' rows are all rows and their mean is the MAE."""
    for bins in (found.error_by_age, found.error_by_size):
        rows = np.array([each.model.rows for each in bins])
        assert rows.sum() == len(dataset().test)
        for errors, name in (
            ([each.model.mean for each in bins], MODEL),
            ([each.boosting for each in bins], "boosting"),
        ):
            assert np.average(errors, weights=rows) == pytest.approx(found.rows["with age"][name].mae)


@pytest.mark.parametrize(
    ("hours", "label"),
    [(0, "under 1 day"), (23.9, "under 1 day"), (24, "1 to 2 days"), (400, "over 2 weeks")],
)
def test_a_video_is_in_the_group_of_its_age(hours, label):
    """A day is 24 hours, and a limit belongs to the older group."""
    split = dataset().test
    video = split.videos[0]
    published = video.observed_at.timestamp() - hours * 3600
    aged = replace(
        video, published_at=video.observed_at.fromtimestamp(published, tz=video.observed_at.tzinfo)
    )
    bins, labels = age_bins(replace(split, videos=[aged]))
    assert labels[bins[0]] == label


def test_a_video_without_an_age_has_a_group_of_its_own():
    """Rows that do not tell are neither dropped nor taken for young."""
    split = dataset().test
    bins, labels = age_bins(replace(split, videos=without_age(split.videos)))
    assert {labels[each] for each in bins} == {"unknown"}


@pytest.mark.parametrize(
    ("views", "label"), [(0, "under 10 k"), (10_000, "10 to 100 k"), (10**9, "over 10 M")]
)
def test_a_video_is_in_the_group_of_its_views(views, label):
    """From none to a thousand million; a limit belongs to the larger group."""
    split = replace(dataset().test, videos=[Video(title="x", view_count=views)])
    bins, labels = size_bins(split)
    assert labels[bins[0]] == label


def test_gains_are_differences_of_the_rows(found):
    """Each paired difference is that of the two models' own figures, inside its interval."""
    rows = found.rows["with age"]
    for name, gain in found.gains.items():
        for figure, interval in gain.items():
            difference = getattr(rows[MODEL], figure) - getattr(rows[name], figure)
            assert interval.difference == pytest.approx(difference, abs=1e-9)
            assert interval.low <= interval.difference <= interval.high


def test_without_thumbnails_the_image_adds_nothing(found):
    """Where the data holds no images, taking them away changes nothing, and the report knows why."""
    image = next(each for each in found.modalities if each.modality == "image")
    assert found.why_no_images == "no images in this data"
    assert {(each.low, each.difference, each.high) for each in image.gain.values()} == {(0, 0, 0)}
    assert THUMBNAIL not in {each.name for each in found.facts}


def test_thumbnails_move_scores_where_there_are_some():
    """With a vector for each row, exchanging them is one of the facts that move the score."""
    moved = {each.name: each for each in fact_importance(reported.scorer(with_images=True), dataset().test)}
    assert moved[THUMBNAIL].score_change > 0


def test_pr_auc_is_scikit_learns():
    """With row weights, ties and rows that are not drawn at all, it equals the average precision."""
    draw = np.random.default_rng(3)
    truth, scores = draw.random(300) < 0.3, np.round(draw.random(300), 2)
    weights = draw.integers(0, 4, (4, 300)).astype(float)
    expected = [average_precision_score(truth, scores, sample_weight=each) for each in weights]
    assert weighted_average_precision(truth, scores, weights) == pytest.approx(expected)


def test_a_bin_has_its_own_mean():
    """Each bin's mean is that of its rows, between its limits; an empty bin has none."""
    draw = np.random.default_rng(4)
    values, bins = draw.normal(5, 1, 200), draw.integers(0, 2, 200)
    first, second, empty = binned_means(values, bins, [str(row) for row in range(200)], 3)
    assert (first.mean, second.mean) == pytest.approx((values[bins == 0].mean(), values[bins == 1].mean()))
    assert first.low < first.mean < first.high
    assert empty is None


def test_rows_of_one_video_are_drawn_together():
    """Four copies of every row, grouped, tell no more than the rows alone."""
    values, bins = np.random.default_rng(5).normal(0, 1, 100), np.zeros(100, dtype=np.int64)
    once = binned_means(values, bins, list(range(100)), 1)[0]
    four = binned_means(np.tile(values, 4), np.tile(bins, 4), list(range(100)) * 4, 1)[0]
    assert (four.low, four.high) == pytest.approx((once.low, once.high))


def test_an_exchanged_age_moves_scores_as_a_request_would(found):
    """The age's movement is what the evaluation says of the same rows with other rows' times."""
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


def test_views_take_their_likes_along():
    """A video with ten times the views of another gets ten times its own likes and comments."""
    own, other = Video("a", view_count=1000, like_count=30, comment_count=4), Video("b", view_count=10_000)
    changed = FACTS["views"](own, other)
    assert (changed.view_count, changed.like_count, changed.comment_count) == (10_000, 300, 40)
    assert changed.title == "a"


def test_likes_and_comments_come_per_view():
    """The other's share of likes and comments, on one's own views; no views at all is no crash."""
    own, other = Video("a", view_count=1000), Video("b", view_count=100, like_count=10, comment_count=1)
    changed = FACTS["likes and comments per view"](own, other)
    assert (changed.view_count, changed.like_count, changed.comment_count) == (1000, 100, 10)
    assert FACTS["likes and comments per view"](own, Video("none")).like_count == 0


def test_what_every_video_shares_is_left_out(found):
    """The synthetic rows have one length and no description: neither is among what moves the score."""
    assert {each.name for each in found.facts} == {"age", "views", "likes and comments per view", "words"}
    names = {each.name for each in found.features}
    assert names < set(MILES_V1)
    assert not names & {"log_duration_seconds", "is_short", "has_description", "age_known"}


def test_movement_is_told_from_the_largest(found):
    """Both lists are in order, and nothing in them is still."""
    for moved in (found.facts, found.features):
        changes = [each.score_change for each in moved]
        assert changes == sorted(changes, reverse=True)
        assert changes[-1] > 0


def test_the_error_is_in_logarithms(found):
    """|log1p(predicted) - log1p(real)|, whose mean is the MAE."""
    answer = found.answers["with age"][MODEL].test
    assert absolute_error(answer).mean() == pytest.approx(found.rows["with age"][MODEL].mae)
