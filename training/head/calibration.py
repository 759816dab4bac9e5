"""Calibrates a trained head on val: a temperature, and shifts for requests with and without an age.

The trending list changes over time, so a head trained on winter is biased by spring, more so for requests
without an age. Val has the latest rows before test. The shifts of the logit and of the velocity become
weights: the ensemble leaves the last unit of both hidden layers unused, and here it becomes an indicator of
an unknown age.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from features import FeatureScaler
from model.low_rank import LowRankHead
from training.metrics import Predictions

FloatArray = NDArray[np.float64]
AGE_KNOWN = "age_known"
MIN_SCORE = 1e-12  # a score of exactly 0 or 1 has no finite logit


@dataclass(frozen=True, slots=True)
class Calibration:
    """Shifts before the temperature divides: of the logit, and of log1p(views per day)."""

    temperature: float
    logit_with_age: float
    logit_without_age: float
    velocity_with_age: float
    velocity_without_age: float


def fit_calibration(with_age: Predictions, without_age: Predictions) -> Calibration:
    """Minimise the log loss on held-out rows, whose scores are at temperature 1.

    The temperature is fitted on requests with an age: a second one would need a second head.
    """
    known, unknown = _logits(with_age.viral), _logits(without_age.viral)
    found = minimize(
        lambda x: _log_loss((known + x[1]) / np.exp(x[0]), with_age.is_viral),
        [0.0, 0.0],
        method="Nelder-Mead",
    )
    temperature = float(np.exp(found.x[0]))
    shift = minimize(
        lambda x: _log_loss((unknown + x[0]) / temperature, without_age.is_viral), [0.0], method="Nelder-Mead"
    )
    return Calibration(
        temperature=temperature,
        logit_with_age=float(found.x[1]),
        logit_without_age=float(shift.x[0]),
        velocity_with_age=_mean_error(with_age),
        velocity_without_age=_mean_error(without_age),
    )


def shifted(
    head: LowRankHead, calibration: Calibration, scaler: FeatureScaler, velocity_scale: float
) -> LowRankHead:
    """`head` with the shifts; its last hidden units must be zeros."""
    column = scaler.feature_names_in_.index(AGE_KNOWN)
    head = LowRankHead.from_tensors({name: tensor.clone() for name, tensor in head.tensors().items()})
    assert not head.hidden_weight[-1].any(), "the ensemble leaves the last units unused"
    # 1 - age_known, from the standardised value.
    head.scalar_weight[-1, column] = -float(scaler.scale_[column])
    head.input_bias[-1] = 1 - float(scaler.mean_[column])
    head.hidden_weight[-1, -1] = 1
    velocity_with_age = calibration.velocity_with_age / velocity_scale
    velocity_without_age = calibration.velocity_without_age / velocity_scale
    head.classifier_weight[1, -1] = calibration.logit_without_age - calibration.logit_with_age
    head.regressor_weight[0, -1] = velocity_without_age - velocity_with_age
    viral = torch.tensor([0.0, calibration.logit_with_age])
    return replace(
        head,
        classifier_bias=head.classifier_bias + viral,
        regressor_bias=head.regressor_bias + velocity_with_age,
    )


def _logits(scores: FloatArray) -> FloatArray:
    inside = np.clip(scores, MIN_SCORE, 1 - MIN_SCORE)
    logits: FloatArray = np.log(inside / (1 - inside))
    return logits


def _log_loss(logits: FloatArray, truth: NDArray[np.bool_]) -> float:
    return float(np.logaddexp(0, np.where(truth, -logits, logits)).mean())


def _mean_error(predictions: Predictions) -> float:
    return float((predictions.true_log_velocity - predictions.log_velocity).mean())
