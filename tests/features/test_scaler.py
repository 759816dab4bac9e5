"""FeatureScaler: what it learns, what it does to values that training never saw, what it refuses."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import FeatureScaler
from features.scaler import FARTHEST

NAMES = ("views", "likes", "flag", "unseen")
NAN = float("nan")
ROWS = np.array([[1.0, 10.0, 5.0, NAN], [2.0, NAN, 5.0, NAN], [3.0, 30.0, 5.0, NAN]])


@pytest.fixture
def scaler():
    return FeatureScaler().fit(ROWS, NAMES)


def test_mean_and_scale_are_those_of_the_known_values(scaler):
    """Mean and (population) standard deviation ignore what is missing."""
    np.testing.assert_allclose(scaler.mean_, [2, 20, 5, 0])
    np.testing.assert_allclose(scaler.scale_, [np.sqrt(2 / 3), 10, 1, 1])


def test_a_constant_or_missing_column_gets_scale_one(scaler):
    """A column that did not vary in training is centred and left at its own scale."""
    assert scaler.is_constant_.tolist() == [False, False, True, True]
    np.testing.assert_allclose(scaler.transform([[2, 20, 7, 3]]), [[0, 0, 2, 3]])


def test_missing_becomes_the_mean(scaler):
    """A missing value is 0 after standardising, whatever the column."""
    assert scaler.transform(np.full((2, 4), NAN)).tolist() == [[0] * 4] * 2


def test_values_outside_the_training_range_are_clipped_to_it(scaler):
    """A value beyond the training range counts as the nearest end of it."""
    np.testing.assert_array_equal(
        scaler.transform([[99, -99, 5, 0], [np.inf, -np.inf, 5, 0]]),
        scaler.transform([[3, 10, 5, 0], [3, 10, 5, 0]]),
    )


def test_a_spread_that_underflows_counts_as_constant():
    """Values whose variance is 0 in floating point never lead to a division by zero."""
    scaler = FeatureScaler().fit([[0.0], [1e-200]], ["tiny"])
    assert scaler.scale_.tolist() == [1.0]
    assert np.isfinite(scaler.transform([[1e-200]])).all()


def test_transform_gives_float32_rows(scaler):
    result = scaler.transform(ROWS)
    assert result.shape == ROWS.shape
    assert result.dtype == np.float32


@given(
    st.lists(st.tuples(*[st.floats(-1e100, 1e100) | st.just(NAN)] * 2), min_size=1, max_size=6),
    st.lists(st.tuples(*[st.floats()] * 2), min_size=1, max_size=4),
)
def test_transform_is_always_finite(training, rows):
    """A fit on any rows gives finite numbers for any input, including infinities and NaN."""
    assert np.isfinite(FeatureScaler().fit(training, ["a", "b"]).transform(rows)).all()


def test_statistics_without_a_range_stay_finite():
    """Statistics from elsewhere carry no range; an extreme value still stays within float32."""
    scaler = FeatureScaler.from_stats({"a": {"mean": 0.0, "scale": 1e-300}}, ["a"])
    assert scaler.transform([[1e308], [-1.0]]).tolist() == [[FARTHEST], [-FARTHEST]]


def test_statistics_without_a_range_are_not_constant():
    """A feature whose statistics merely lack a range still counts as one that varied."""
    stats = {"a": {"mean": 0.0, "scale": 3.0, "low": None, "high": None}}
    assert not FeatureScaler.from_stats(stats, ["a"]).is_constant_.any()


def test_statistics_survive_json(scaler):
    stats = json.loads(json.dumps(scaler.to_stats(), allow_nan=False))
    again = FeatureScaler.from_stats(stats, NAMES)
    rows = np.array([[2.5, 99, 6, 1], [NAN, 12, 5, NAN]])
    np.testing.assert_array_equal(again.transform(rows), scaler.transform(rows))
    assert again.to_stats() == scaler.to_stats()


def test_statistics_are_looked_up_by_name(scaler):
    again = FeatureScaler.from_stats(scaler.to_stats(), ["likes", "views"])
    np.testing.assert_allclose(again.mean_, [20, 2])


GOOD = {"mean": 0.0, "scale": 1.0}


@pytest.mark.parametrize(
    ("stats", "sentence"),
    [
        ({}, "no statistics for a"),
        ({"a": 3.0}, "a: is 3.0, expected mean and scale"),
        ({"a": {"scale": 1.0}}, "a: mean is None, expected a finite number"),
        ({"a": {**GOOD, "mean": "x"}}, "a: mean is 'x', expected a finite number"),
        ({"a": {**GOOD, "mean": NAN}}, "a: mean is nan, expected a finite number"),
        ({"a": {**GOOD, "mean": 10**400}}, "expected a finite number"),
        ({"a": {**GOOD, "scale": 0}}, "a: scale is 0.0, expected above 0"),
        ({"a": {**GOOD, "scale": -2}}, "a: scale is -2.0, expected above 0"),
        ({"a": {**GOOD, "low": NAN}}, "a: low is nan, expected a finite number"),
        ({"a": {**GOOD, "low": 2, "high": 1}}, "a: low is 2.0, above high, 1.0"),
    ],
)
def test_unusable_statistics_name_feature_and_value(stats, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        FeatureScaler.from_stats(stats, ["a"])


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([[1.0, 2.0, 3.0]], r"rows are \(1, 3\), expected \(N > 0, 2\)"),
        (np.empty((0, 2)), r"rows are \(0, 2\)"),
        ([1.0, 2.0], r"rows are \(2,\)"),
        ([[1.0, np.inf]], "rows hold infinite values"),
    ],
)
def test_fit_refuses_rows_that_do_not_match(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        FeatureScaler().fit(rows, ["a", "b"])


def test_transform_refuses_what_it_was_not_fitted_on(scaler):
    with pytest.raises(RuntimeError, match="call fit or from_stats first"):
        FeatureScaler().transform([[1.0]])
    with pytest.raises(ValueError, match=r"rows are \(1, 2\), fitted on \(N, 4\)"):
        scaler.transform([[1.0, 2.0]])
