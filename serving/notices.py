"""Sentences for a person about what a score rests on, and what it does not."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features import FeatureScaler, Video

# Rounding in a checkpoint's statistics must not make the training data's own extremes look foreign.
TOLERANCE = 1e-6


def out_of_range(raw: NDArray[np.float64], scaler: FeatureScaler) -> list[str]:
    """One sentence naming the features of one video, raw (F,), that lie outside the training data."""
    low, high = scaler.low_ - TOLERANCE, scaler.high_ + TOLERANCE
    foreign = np.flatnonzero((raw < low) | (raw > high))  # NaN, an unknown value, is neither
    if not foreign.size:
        return []
    named = [_describe(scaler.feature_names_in_[i], raw[i], scaler.low_[i], scaler.high_[i]) for i in foreign]
    return [f"Outside the training data, so the score is an extrapolation: {'; '.join(named)}."]


def imputed(raw: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """The features of one video, raw (F,), that it does not say."""
    return [name for name, value in zip(names, raw, strict=True) if np.isnan(value)]


def about_time(video: Video) -> list[str]:
    """What is odd about a video's times."""
    if video.published_at and video.observed_at and video.published_at > video.observed_at:
        return ["published_at is later than observed_at; the video's age counts as zero."]
    return []


def _describe(name: str, value: float, low: float, high: float) -> str:
    """Logarithms are given back as the counts that a person sent."""
    if name.startswith("log_"):
        name = name.removeprefix("log_")
        value, low, high = (float(np.expm1(number)) for number in (value, low, high))
    return f"{name} is {value:,.4g}, trained on {low:,.4g} to {high:,.4g}"
