"""Exact Shapley values of a small game (Shapley 1953). Knows no videos.

Players are numbered from 0; a coalition is the number whose bit i says that player i is in it, so that all of
them are 0 to 2^n - 1.
"""

from math import factorial

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def shapley_values(worth: FloatArray) -> FloatArray:
    """(n, K) values of n players from the (2^n, K) worth of every coalition; they add up to what all gain.

    phi_i = sum over S without i of |S|! (n - |S| - 1)! / n! * (worth(S with i) - worth(S)).
    """
    players = len(worth).bit_length() - 1
    assert len(worth) == 1 << players, "every coalition has a worth"
    coalitions = np.arange(len(worth))
    sizes = sum(((coalitions >> player) & 1 for player in range(players)), np.zeros_like(coalitions))
    weights = np.array([factorial(size) * factorial(players - size - 1) for size in range(players)])
    values = np.zeros((players, worth.shape[1]))
    for player in range(players):
        without = coalitions[(coalitions >> player) & 1 == 0]
        gains = worth[without | 1 << player] - worth[without]  # (2^(n-1), K)
        values[player] = (weights[sizes[without]] / factorial(players)) @ gains
    return values
