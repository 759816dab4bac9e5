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


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of B videos: calibrated probability (B,), views per day (B,)."""

    viral: NDArray[np.float64]
    velocity: NDArray[np.float64]


class Engine(Protocol):
    """Runs the steps. At most `at_once` threads call a tower at a time, and one the fusion."""

    name: str
    device: str
    threads: int
    """CPU threads that all forwards may use together."""
    concurrent: bool
    """Whether different steps may run at once, in different threads."""
    at_once: int
    """Batches that a tower may run at once: one, unless towers run on other machines."""
    neutral_image: Vectors

    @property
    def precision(self) -> str:
        """The precision of the towers, for display."""

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences of any lengths to (B, text_dim)."""

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, image_dim)."""

    def score(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Tower outputs and standardised scalars of B videos to their scores."""
