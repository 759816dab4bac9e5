"""The baselines are what their names say."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from features import MILES_V2, compute_features
from tests.training.synthetic import dataset, texts
from training.measure.baselines import LABELS, WITH_TEXT, baseline_predictions


@pytest.fixture(scope="module")
def answers():
    return {
        hide: baseline_predictions(dataset(), MILES_V2, hide, texts() if not hide else None)
        for hide in ((), ("age",))
    }


def test_every_baseline_scores_every_row(answers):
    """Constant, views only, linear and boosting, with and without the age, the last two with text, too."""
    assert answers[()].keys() == {*LABELS, *WITH_TEXT.values()}
    assert answers["age",].keys() == LABELS.keys()
    for each in answers.values():
        for one in each.values():
            assert len(one.test.viral) == len(dataset().test)
            assert np.isfinite(one.test.log_velocity).all()


def test_the_constant_is_the_train_rows_mean(answers):
    """Their share of viral rows and their mean velocity, each video counting once, for every row."""
    constant, train = answers[()]["constant"].test, dataset().train
    assert constant.viral == pytest.approx(np.average(train.is_viral, weights=train.weights))
    assert constant.log_velocity == pytest.approx(
        np.average(np.log1p(train.views_per_day), weights=train.weights)
    )


def test_views_only_ranks_as_views_do(answers):
    test = dataset().test
    views = [video.view_count for video in test.videos]
    found = roc_auc_score(test.is_viral, answers[()]["log views"].test.viral)
    assert found == pytest.approx(roc_auc_score(test.is_viral, views))


def test_without_the_age_nothing_of_it_is_used(answers):
    """Where velocity is views per age, the errors of linear and boosting grow."""
    for name in ("linear", "boosting"):
        known, unknown = (
            np.abs(answers[age][name].test.log_velocity - answers[age][name].test.true_log_velocity).mean()
            for age in ((), ("age",))
        )
        assert unknown > 1.2 * known


def test_linear_is_least_squares(answers):
    """Apart from the ridge penalty, the linear velocity is plain least squares on the same features."""
    rows = {name: compute_features(dataset().split(name).videos, MILES_V2) for name in ("train", "test")}
    varied = rows["train"].std(axis=0) > 0  # false for NaN
    weights = np.sqrt(dataset().train.weights)
    train, test = (
        np.column_stack([np.ones(len(each)), each[:, varied]]) for each in (rows["train"], rows["test"])
    )
    target = np.log1p(dataset().train.views_per_day)
    found = np.linalg.lstsq(weights[:, None] * train, weights * target, rcond=None)[0]
    error = np.abs(test @ found - answers[()]["linear"].test.log_velocity)
    assert np.median(error) < 0.1


def test_text_helps_where_a_word_decides():
    """With the text's components, boosting on the title and the length knows the word that triples views."""
    known = baseline_predictions(
        dataset(), MILES_V2, ("history", "age", "views", "reactions"), texts(), only=("boosting",)
    )
    errors = {
        name: np.abs(each.test.log_velocity - each.test.true_log_velocity).mean()
        for name, each in known.items()
    }
    assert errors["boosting with text"] < errors["boosting"]
