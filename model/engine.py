"""Runs the network as three separate steps: text tower, image tower, fusion.

The steps are apart because the towers are frozen: their outputs can be computed side by side, in batches
of different sizes, and used again. An engine knows tensors; it knows neither videos nor HTTP.
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
    """What the two heads say of B videos: calibrated probability (B,), views per day (B,)."""

    viral: NDArray[np.float64]
    velocity: NDArray[np.float64]


class Engine(Protocol):
    """What the service needs of an engine. `at_once` threads at most call a tower, and one the fusion."""

    name: str
    device: str
    threads: int
    """How many threads its forwards may use on a CPU, all of them together."""
    concurrent: bool
    """Whether different steps may run at once, each in a thread of its own."""
    at_once: int
    """How many batches a tower may run at once: one, unless towers are elsewhere."""
    neutral_image: Vectors

    @property
    def precision(self) -> str:
        """The towers' arithmetic, for people."""

    def encode_text(self, input_ids: TokenIds, token_type_ids: TokenIds) -> Vectors:
        """B token sequences of any lengths to (B, text_dim)."""

    def encode_image(self, pixels: Pixels) -> Vectors:
        """(B, H, W, 3) uint8 to (B, image_dim)."""

    def score(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Tower outputs and standardised scalars of B videos to their scores."""
