"""Shapley values against their definition: the mean gain over all orders in which players can join."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.scoring.shapley import shapley_values


def by_orderings(worth: NDArray[np.float64]) -> NDArray[np.float64]:
    """The definition: every player's gain when it joins, averaged over all orders."""
    players = len(worth).bit_length() - 1
    orders = list(permutations(range(players)))
    values = np.zeros((players, worth.shape[1]))
    for order in orders:
        coalition = 0
        for player in order:
            values[player] += worth[coalition | 1 << player] - worth[coalition]
            coalition |= 1 << player
    return values / len(orders)


@pytest.mark.parametrize("players", [0, 1, 2, 3, 6])
def test_values_are_the_mean_over_all_orders(players: int) -> None:
    """Any game of so many players has the values that trying every order gives."""
    worth = np.random.default_rng(players).normal(size=(1 << players, 2))
    np.testing.assert_allclose(shapley_values(worth), by_orderings(worth), atol=1e-12)


def test_values_add_up_to_what_all_gain() -> None:
    """Nine players' values sum to the worth of all less that of none."""
    worth = np.random.default_rng(9).normal(size=(512, 2))
    np.testing.assert_allclose(shapley_values(worth).sum(axis=0), worth[-1] - worth[0], atol=1e-12)


def test_who_adds_nothing_gets_nothing() -> None:
    """A player that changes no coalition's worth has the value zero, exactly."""
    draw = np.random.default_rng(4).normal(size=(8, 1))
    worth = np.concatenate([draw, draw])  # the fourth player, bit 3, changes nothing
    assert shapley_values(worth)[3] == 0
