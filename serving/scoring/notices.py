"""Sentences for a person about what a score rests on, and what it does not."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from features import Video


def imputed(raw: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """The features of one video, raw (F,), that it does not say."""
    return [name for name, value in zip(names, raw, strict=True) if np.isnan(value)]


def about_time(video: Video) -> list[str]:
    """What is odd about a video's times."""
    if video.published_at and video.observed_at and video.published_at > video.observed_at:
        return ["published_at is later than observed_at; the video's age counts as zero."]
    return []
