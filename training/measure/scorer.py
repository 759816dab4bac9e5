"""A checkpoint's predictions for rows with some inputs hidden, removed or swapped.

The encoders are frozen, so their vectors are computed once, and only the fusion head runs here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features import FeatureScaler, Video, compute_features
from model.card import ModelCard
from model.checkpoint.store import Checkpoint
from model.engine import Engine, Vectors
from model.outputs import fitted, pattern_of
from training.data.dataset import Dataset, Split
from training.embeddings.text import TextEmbeddings
from training.head.knowns import hidden
from training.measure.figures import Predictions

FloatArray = NDArray[np.float64]
CHUNK = 2048  # rows at a time: 2048 x 2834 float32 are 23 MB


@dataclass(frozen=True)
class Inputs:
    """What the fusion head reads of N videos: (N, text_dim), (N, image_dim), standardised (N, features).

    `patterns` are the N names of what is known, for the velocity's interval.
    """

    text: Vectors
    image: Vectors
    scalars: Vectors
    patterns: list[str]


@dataclass(frozen=True, slots=True)
class SplitPredictions:
    """One model's predictions for val, where thresholds are chosen, and for test."""

    val: Predictions
    test: Predictions


class Images(Protocol):
    """The thumbnails' vectors of a split."""

    def of(self, split: Split) -> Vectors:
        """(N, image_dim), the neutral vector for a row without an image."""


class Scorer:
    """One checkpoint, the vectors of all rows, and the neutral values of missing inputs."""

    def __init__(
        self,
        engine: Engine,
        checkpoint: Checkpoint,
        dataset: Dataset,
        texts: TextEmbeddings,
        images: Images | None = None,
    ) -> None:
        self.engine, self.card, self.texts, self.images = engine, checkpoint.card, texts, images
        train = texts.of(dataset.train.videos)
        self._mean_text = np.average(train, axis=0, weights=dataset.train.weights).astype(np.float32)

    def inputs(self, split: Split, hide: Sequence[str] = ()) -> Inputs:
        """The head's inputs for `split`, as in requests that leave the groups `hide` out."""
        image = None if self.images is None else self.images.of(split)
        videos = hidden(split.videos, hide)
        return inputs_of(self.engine, self.card, videos, self.texts.of(split.videos), image)

    def without(self, inputs: Inputs, modality: str) -> Inputs:
        """`inputs` without a modality: the mean text, the neutral image, or the mean of every number."""
        match modality:
            case "text":
                return replace(inputs, text=np.broadcast_to(self._mean_text, inputs.text.shape))
            case "image":
                return replace(inputs, image=np.broadcast_to(self.engine.neutral_image, inputs.image.shape))
            case _:
                return replace(inputs, scalars=np.zeros_like(inputs.scalars))

    def predict(self, inputs: Inputs, split: Split) -> Predictions:
        """The predictions for these inputs, with the targets of `split`."""
        return predictions_of(self.engine, self.card, inputs, split)

    def answers(self, dataset: Dataset, hide: Sequence[str] = (), *, without: str = "") -> SplitPredictions:
        """Predictions for val and test with the groups `hide`, and the modality `without`, left out."""
        pair = []
        for split in (dataset.val, dataset.test):
            inputs = self.inputs(split, hide)
            pair.append(self.predict(self.without(inputs, without) if without else inputs, split))
        return SplitPredictions(*pair)


def predict(
    engine: Engine, checkpoint: Checkpoint, split: Split, text: Vectors, *, image: Vectors | None = None
) -> Predictions:
    """The checkpoint's predictions for `split`, given (N, D) text and image vectors; None: no thumbnails."""
    inputs = inputs_of(engine, checkpoint.card, split.videos, text, image)
    return predictions_of(engine, checkpoint.card, inputs, split)


def inputs_of(
    engine: Engine, card: ModelCard, videos: Sequence[Video], text: Vectors, image: Vectors | None
) -> Inputs:
    """The head's inputs for N videos; an unknown number is the training mean, 0."""
    if image is None:
        image = np.broadcast_to(engine.neutral_image, (len(videos), len(engine.neutral_image)))
    rows = compute_features(videos, card.scalar_features)
    scaler = FeatureScaler.from_stats(card.feature_stats, card.scalar_features)
    patterns = [pattern_of(row, card.scalar_features) for row in rows]
    return Inputs(text, image, scaler.transform(rows), patterns)


def predictions_of(engine: Engine, card: ModelCard, inputs: Inputs, split: Split) -> Predictions:
    """The predictions for these inputs, with the targets of `split` and the card's intervals."""
    viral, velocity = [], []
    for start in range(0, len(split), CHUNK):
        rows = slice(start, start + CHUNK)
        scores = engine.score(inputs.text[rows], inputs.image[rows], inputs.scalars[rows])
        viral.append(scores.viral)
        velocity.append(scores.velocity)
    log_velocity = np.log1p(np.concatenate(velocity))
    low, high = _interval(card, log_velocity, inputs.patterns)
    return Predictions(
        np.concatenate(viral), log_velocity, split.is_viral, np.log1p(split.views_per_day), low, high
    )


def _interval(
    card: ModelCard, log_velocity: FloatArray, patterns: Sequence[str]
) -> tuple[FloatArray | None, FloatArray | None]:
    """Both ends in log1p(views per day); None for a checkpoint without patterns."""
    if not card.patterns:
        return None, None
    known = {name: fitted(name, card.patterns) for name in set(patterns)}
    margins = np.array([(p.low, p.high) if (p := known[name]) else (0.0, 0.0) for name in patterns])
    return np.maximum(log_velocity + margins[:, 0], 0.0), log_velocity + margins[:, 1]
