"""Calibrates a trained head on val, for each pattern of known inputs.

A head that knows a video's views and age errs less than one that knows its title only, and the population
changes with time, so every pattern has its own temperature, bias and interval. Val has the latest rows
before test, but fewer videos than train: a small deviation from what the head learned may be chance.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from model.outputs import Pattern

FloatArray = NDArray[np.float64]
COVERAGE = 0.8
CONFIDENCE = 1.2816  # standard errors: 90%, one-sided
# The scale of the prior of the temperature's logarithm and of the bias, chosen on val: fitted on half of its
# videos, the log loss on the others is lower than without a prior.
PRIOR_SCALE = 0.05
# Far beyond what a head with some skill needs; without limits, a few separable rows have no optimum.
MAX_LOG_TEMPERATURE = 3.0
MAX_BIAS = 20.0


def fit_pattern(logits: FloatArray, is_viral: NDArray[np.bool_], errors: FloatArray, videos: int) -> Pattern:
    """The calibration of N held-out rows of a given number of videos.

    `logits` are the differences of the two logits, `errors` log1p(views per day) minus its prediction. The
    temperature and the bias minimise the log loss (Guo et al. 2017, with a bias as in Platt 1999), where each
    video counts as one observation, under a Cauchy prior (Gelman et al. 2008): it shrinks what a few videos
    suggest and hardly changes a large miscalibration. The interval leaves about a tenth of the errors out
    at each end (split-conformal, Romano et al. 2019).
    """
    found = np.zeros(2)
    # From the optimum without a prior: with one, there may be another near 0.
    for scale in (np.inf, PRIOR_SCALE):
        found = minimize(
            _penalised_loss,
            found,
            args=(logits, is_viral, videos, scale),
            method="L-BFGS-B",
            bounds=[(-MAX_LOG_TEMPERATURE, MAX_LOG_TEMPERATURE), (-MAX_BIAS, MAX_BIAS)],
        ).x
    low, high = conformal_ends(errors, videos)
    return Pattern(
        temperature=float(np.exp(found[0])),
        bias=float(found[1]),
        low=min(low, 0.0),
        high=max(high, 0.0),
        rows=len(logits),
    )


def conformal_ends(errors: FloatArray, videos: int, coverage: float = COVERAGE) -> tuple[float, float]:
    """The ends between which at least the share `coverage` of new errors lies, with 90% confidence.

    `errors` are those of N held-out rows. The ends are the k-th smallest and the k-th largest,
    k = floor((N + 1) a / 2). The share outside, a, is 1 - coverage minus a margin for chance (Vovk 2012,
    training-conditional validity). Rows of one video are nearly one observation, so that margin depends on
    the number of videos.
    """
    margin = CONFIDENCE * np.sqrt(coverage * (1 - coverage) / videos)
    ordered = np.sort(errors)
    k = max(int((len(errors) + 1) * (1 - coverage - margin) / 2), 1)
    return float(ordered[k - 1]), float(ordered[-k])


def _penalised_loss(
    x: FloatArray, logits: FloatArray, truth: NDArray[np.bool_], videos: int, scale: float
) -> float:
    """The negative log posterior of the temperature's logarithm and the bias, divided by the videos."""
    scaled = (logits + x[1]) / np.exp(x[0])
    loss = np.logaddexp(0, np.where(truth, -scaled, scaled)).mean()
    return float(loss + np.log1p((x / scale) ** 2).sum() / videos)
