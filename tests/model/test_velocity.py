"""Velocity transforms: there and back, and within the bounds that training saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model.outputs import LogVelocity, MinMaxVelocity
from model.values import problem

LOG = LogVelocity(mean=9.0, scale=2.0, high=18.0)
MIN_MAX = MinMaxVelocity(low=10.0, high=1010.0)


@pytest.mark.parametrize("velocity", [LOG, MIN_MAX])
def test_inverting_undoes_applying(velocity):
    """Views per day within the training range survive the way there and back."""
    views = np.array([10.0, 11.5, 300.0, 1010.0])
    np.testing.assert_allclose(velocity.invert(velocity.apply(views)), views, rtol=1e-12)


def test_the_formulas_by_hand():
    """log1p is standardised, min-max is a share of the span."""
    assert LOG.apply(np.array([np.expm1(11.0)])) == pytest.approx(1.0)
    assert LOG.invert(np.array([1.0])) == pytest.approx(np.expm1(11.0))
    assert MIN_MAX.apply(np.array([260.0])) == 0.25
    assert MIN_MAX.invert(np.array([0.25])) == 260


@given(st.floats(allow_nan=False))
def test_no_prediction_is_negative_or_infinite(target):
    """Whatever the regressor gives, views per day are finite, at least 0 and at most the training maximum."""
    for velocity, most in ((LOG, np.expm1(18.0)), (MIN_MAX, 1010.0)):
        assert 0 <= velocity.invert(np.array([target]))[0] <= most


def test_bounds_below_zero_predict_no_negative_views():
    """Min-max bounds fitted on a target with noise below zero still give no negative velocity."""
    assert MinMaxVelocity(low=-5.0, high=5.0).invert(np.array([0.0])) == 0


@given(st.floats(-20, 20), st.floats(1e-3, 1e3), st.floats(0.1, 50), st.floats(allow_nan=False, width=32))
def test_any_accepted_transform_is_finite(mean, scale, high, target):
    """Every transform that a checkpoint may carry gives finite velocities for every output."""
    velocity = LogVelocity(mean, scale, high)
    assert 0 <= velocity.invert(np.array([target]))[0] < np.inf


REFUSED = [
    (LogVelocity, {"mean": "x", "scale": 1, "high": 9}, "mean is 'x', expected a valid number"),
    (LogVelocity, {"mean": 0, "scale": True, "high": 9}, "scale is True, expected a valid number"),
    (LogVelocity, {"mean": 0, "scale": -1, "high": 9}, "scale is -1, expected a number greater than 0"),
    (LogVelocity, {"mean": 0, "scale": 1, "high": 51}, "high is 51, expected a number less than or equal"),
    (MinMaxVelocity, {"low": 0, "high": 1e300}, "high is 1e+300, expected a number less than or equal to"),
    (MinMaxVelocity, {"low": -9, "high": -1}, "high is -1, expected a number greater than 0"),
    (MinMaxVelocity, {"low": 9, "high": 1}, "has low 9.0 and high 1.0, expected high above low"),
    (MinMaxVelocity, {"low": 0}, "lacks high"),
]


def test_unusable_transforms_say_why():
    """A transform that could not be inverted names the number, its value and what was expected."""
    failures = []
    for kind, values, sentence in REFUSED:
        with pytest.raises(ValidationError) as refused:
            kind(**values)
        found = problem(refused.value)[1]
        failures += [] if sentence in found else [f"{values}: {found}"]
    assert failures == []
