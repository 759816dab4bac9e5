"""Distribution: the bins it learns, the index it computes, the statistics it refuses."""

import json
import re

import numpy as np
import pytest

from features import Distribution, fit_distributions

NAN = float("nan")
TENTHS = np.arange(1.0, 1001.0)


def fitted(values):
    distribution = Distribution.fit(values)
    assert distribution is not None
    return distribution


def test_edges_are_the_deciles():
    """A thousand different values fall into ten bins of a hundred; nothing is missing."""
    distribution = fitted(TENTHS)
    assert distribution.edges.tolist() == [100, 200, 300, 400, 500, 600, 700, 800, 900]
    np.testing.assert_allclose(distribution.shares, [0.1] * 10 + [0])


def test_a_bin_holds_its_upper_edge():
    """100 belongs to the first decile, larger values to the second; values out of range to the outermost."""
    counts = fitted(TENTHS).count([-5, 100, 100.5, 900.5, 1e9, np.inf])
    assert counts.tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 3, 0]


@pytest.mark.parametrize("ones", [20, 250, 980])
def test_a_flag_has_two_bins(ones):
    """Zeros and ones are told apart however rare one of them is."""
    flag = np.repeat([0.0, 1.0], [1000 - ones, ones])
    np.testing.assert_allclose(fitted(flag).shares, [1 - ones / 1000, ones / 1000, 0])


def test_missing_values_have_a_bin_of_their_own():
    """Rows without the value count as missing, never as old or young; the edges ignore them."""
    distribution = fitted([*TENTHS, *[NAN] * 1000])
    assert distribution.edges.tolist() == fitted(TENTHS).edges.tolist()
    np.testing.assert_allclose(distribution.shares, [0.05] * 10 + [0.5])
    assert distribution.count([NAN, NAN, 1.0]).tolist() == [1, *[0] * 9, 2]


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [NAN, NAN], [NAN, 7.0]])
def test_values_that_did_not_vary_have_no_distribution(values):
    """A quantity that was constant or always missing has nothing to drift from."""
    assert Distribution.fit(values) is None


def test_columns_that_did_not_vary_are_left_out():
    """Only the columns that varied are kept, by name."""
    rows = np.column_stack([TENTHS, np.full(1000, 30.0)])
    assert list(fit_distributions(rows, ["age", "duration"])) == ["age"]


def test_the_index_is_the_published_formula():
    """Shares of 1/2 and 1/2 that were 1/4 and 3/4: (1/4) ln 2 + (-1/4) ln (2/3) = 0.2747."""
    distribution = Distribution(np.array([0.0]), np.array([0.25, 0.75, 0.0]))
    expected = 0.25 * np.log(2) - 0.25 * np.log(2 / 3)
    assert distribution.stability_index([50, 50, 0]) == pytest.approx(expected, abs=1e-12)


def test_the_training_rows_themselves_have_index_zero():
    distribution = fitted(TENTHS)
    assert distribution.stability_index(distribution.count(TENTHS)) == pytest.approx(0, abs=1e-12)


def test_rows_that_no_longer_have_the_age_drift():
    """An input that was always known and is unknown now counts as a significant change, and stays finite."""
    distribution = fitted(TENTHS)
    index = distribution.stability_index(distribution.count([NAN] * 600))
    assert 0.25 < index < 100


def test_unchanged_rows_stay_below_a_tenth():
    """The index of 500 fresh rows of the same kind is (B - 1) / N on average, and never reaches a tenth."""
    draw = np.random.default_rng(5)
    distribution = fitted(draw.normal(size=20_000))
    indices = [distribution.stability_index(distribution.count(draw.normal(size=500))) for _ in range(200)]
    assert np.mean(indices) == pytest.approx(9 / 500, rel=0.2)
    assert max(indices) < 0.1


def test_the_middle_holds_99_of_100_rows():
    """Half a percent of the known values lie on either side of it; missing ones do not count."""
    low, high = fitted([*TENTHS, *[NAN] * 500]).middle
    assert (low, high) == (5, 995)


def test_a_distribution_from_before_the_middle_was_kept_is_read():
    """Without a middle it counts as before, and is written back unchanged."""
    older = Distribution.from_plain(GOOD)
    assert older.middle is None
    assert older.to_plain() == GOOD


def test_distributions_survive_json():
    distribution = fitted([*TENTHS, NAN])
    again = Distribution.from_plain(json.loads(json.dumps(distribution.to_plain(), allow_nan=False)))
    assert again.to_plain() == distribution.to_plain()
    assert again.stability_index(again.count(TENTHS)) == distribution.stability_index(
        distribution.count(TENTHS)
    )


GOOD = {"edges": [0.0], "shares": [0.5, 0.5, 0.0]}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (3.0, "is float, expected edges and shares"),
        ({}, "edges is not a list"),
        ({**GOOD, "edges": []}, "has 0 edges, expected 1 to 100, ascending"),
        ({**GOOD, "edges": ["x"]}, "edges is not a list of numbers"),
        ({**GOOD, "edges": [NAN]}, "edges is not a list of finite numbers"),
        ({**GOOD, "edges": [[0.0]]}, "edges is not a list of finite numbers"),
        ({"edges": [1.0, 1.0], "shares": [0.5, 0.5, 0, 0]}, "has 2 edges"),
        ({**GOOD, "shares": [0.5, 0.5]}, "has 2 shares with the sum 1, expected 3"),
        ({**GOOD, "shares": [0.5, 0.6, 0]}, "with the sum 1.1, expected 3 with the sum 1"),
        ({**GOOD, "shares": [-0.5, 1.5, 0]}, "has 3 shares"),
        ({**GOOD, "middle": [1.0]}, "has 1 numbers in middle, expected two, ascending"),
        ({**GOOD, "middle": [2.0, 1.0]}, "has 2 numbers in middle, expected two, ascending"),
        ({**GOOD, "middle": [NAN, 1.0]}, "middle is not a list of finite numbers"),
        ({**GOOD, "shares": [10**400, 0, 0]}, "shares is not a list of numbers"),
    ],
)
def test_an_unusable_distribution_says_why(values, sentence):
    """Values that no fit could have written are refused with the reason."""
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Distribution.from_plain(values)
