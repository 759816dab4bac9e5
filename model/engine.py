"""What every engine does: run the network in three steps, text tower, image tower and fusion.

The towers are frozen, so their outputs can be computed in parallel, in batches of different sizes, and
cached.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Pixels = NDArray[np.uint8]
TokenIds = Sequence[Sequence[int]]
MAX_TOKENS = 512  # of a forward, unless one text is longer


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of B videos: calibrated probability (B,), views per day (B,)."""

    viral: NDArray[np.float64]
    velocity: NDArray[np.float64]


class Engine(Protocol):
    """Runs the steps. At a time, at most `at_once` threads call a tower and one the fusion."""

    name: str
    device: str
    threads: int
    """CPU threads that all forwards may use together."""
    concurrent: bool
    """Whether different steps may run at once, in different threads."""
    scores_inline: bool
    """Whether `score` takes less time than waking another thread."""
    at_once: int
    """Batches that a tower may run at once: one, unless towers run on other machines."""
    picture_batches: Sequence[int]
    """Numbers of pictures that a forward takes without padding; empty if it takes any number."""
    text_width: int
    """The width of `encode_text`'s output; 0 without a text tower."""
    neutral_image: Vectors
    """What `encode_image` would give for a video without an image, (image width,)."""
    mean_text: Vectors | None
    """What `encode_text` would give for the mean of the training titles; None if the card has none."""

    @property
    def precision(self) -> str:
        """The precision of the towers, for display."""

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences of any lengths to (B, text width), as `score` takes them."""

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, image width), as `score` takes them."""

    def score(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Tower outputs and standardised scalars of B videos to their scores."""
