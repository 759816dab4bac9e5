"""The baselines are what their names say."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from features import MILES_V1, compute_features
from tests.training.synthetic import dataset
from training.report.baselines import LABELS, age_columns, baseline_predictions


@pytest.fixture(scope="module")
def answers():
    return {known: baseline_predictions(dataset(), MILES_V1, with_age=known) for known in (True, False)}


def test_every_baseline_scores_every_row(answers):
    """Constant, views only, linear and boosting, with and without the age."""
    for each in answers.values():
        assert each.keys() == LABELS.keys()
        for one in each.values():
            assert len(one.test.viral) == len(dataset().test)
            assert np.isfinite(one.test.log_velocity).all()


def test_the_constant_is_the_train_rows_mean(answers):
    """Their share of virals and their mean velocity, for every row."""
    constant, train = answers[True]["constant"].test, dataset().train
    assert constant.viral == pytest.approx(train.is_viral.mean())
    assert constant.log_velocity == pytest.approx(np.log1p(train.views_per_day).mean())


def test_views_only_ranks_as_views_do(answers):
    """It has the AUROC of the views."""
    test = dataset().test
    views = [video.view_count for video in test.videos]
    found = roc_auc_score(test.is_viral, answers[True]["log views"].test.viral)
    assert found == pytest.approx(roc_auc_score(test.is_viral, views))


def test_three_features_depend_on_the_age():
    """The age, the views per hour of it, and that it is known."""
    columns = age_columns(dataset().train, MILES_V1)
    assert [MILES_V1[column] for column in columns] == ["log_age_hours", "log_views_per_hour", "age_known"]


def test_without_the_age_nothing_of_it_is_used(answers):
    """Where velocity is views per age, the errors of linear and boosting grow."""
    for name in ("linear", "boosting"):
        known, unknown = (
            np.abs(answers[age][name].test.log_velocity - answers[age][name].test.true_log_velocity).mean()
            for age in (True, False)
        )
        assert unknown > 1.2 * known


def test_linear_is_least_squares(answers):
    """The linear velocity is within a ridge's width of the plain least squares on the same features."""
    rows = {name: compute_features(dataset().split(name).videos, MILES_V1) for name in ("train", "test")}
    varied = rows["train"].std(axis=0) > 0
    train, test = (
        np.column_stack([np.ones(len(each)), each[:, varied]]) for each in (rows["train"], rows["test"])
    )
    weights = np.linalg.lstsq(train, np.log1p(dataset().train.views_per_day), rcond=None)[0]
    error = np.abs(test @ weights - answers[True]["linear"].test.log_velocity)
    assert np.median(error) < 0.1
