"""A checkpoint's predictions for rows with some inputs removed or swapped.

The encoders are frozen, so their vectors are computed once, and only the fusion head runs here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from features import FeatureScaler, Video, compute_features
from model.checkpoint.store import Checkpoint
from model.engine import Engine, Vectors
from training.data.dataset import Dataset, Split, without_age
from training.embeddings.text import TextEmbeddings
from training.metrics import Predictions
from training.report.baselines import SplitPredictions

FloatArray = NDArray[np.float64]
NO_IMAGES = "no images in this data"
CHUNK = 2048  # rows at a time: 2048 x 2834 float32 are 23 MB


@dataclass(frozen=True)
class Inputs:
    """What the fusion head reads of N videos: (N, text_dim), (N, image_dim), standardised (N, features)."""

    text: Vectors
    image: Vectors
    scalars: Vectors


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
        why_no_images: str = NO_IMAGES,
    ) -> None:
        self.names = checkpoint.card.scalar_features
        self.why_no_images = why_no_images if images is None else ""
        self.modalities = checkpoint.card.config.modalities
        self._engine, self._texts, self._images = engine, texts, images
        self._scaler = FeatureScaler.from_stats(checkpoint.card.feature_stats, self.names)
        train = texts.of(dataset.train.videos)
        self._mean_text = np.average(train, axis=0, weights=dataset.train.weights).astype(np.float32)

    def inputs(self, split: Split, *, with_age: bool = True) -> Inputs:
        """The head's inputs for `split`, with or without the age."""
        videos = split.videos if with_age else without_age(split.videos)
        neutral = self._engine.neutral_image
        image = (
            self._images.of(split)
            if self._images is not None
            else np.broadcast_to(neutral, (len(split), len(neutral)))
        )
        return Inputs(self._texts.of(split.videos), image, self.scalars(videos))

    def scalars(self, videos: Sequence[Video]) -> Vectors:
        """(N, features), standardised; a missing value is the training mean, 0."""
        return self._scaler.transform(compute_features(videos, self.names))

    def without(self, inputs: Inputs, modality: str) -> Inputs:
        """`inputs` without a modality: the mean text, the neutral image, or the mean of every number."""
        match modality:
            case "text":
                return replace(inputs, text=np.broadcast_to(self._mean_text, inputs.text.shape))
            case "image":
                return replace(inputs, image=np.broadcast_to(self._engine.neutral_image, inputs.image.shape))
            case _:
                return replace(inputs, scalars=np.zeros_like(inputs.scalars))

    def predict(self, inputs: Inputs, split: Split) -> Predictions:
        """The predictions for these inputs, with the targets of `split`."""
        viral, velocity = [], []
        for start in range(0, len(split), CHUNK):
            rows = slice(start, start + CHUNK)
            scores = self._engine.score(inputs.text[rows], inputs.image[rows], inputs.scalars[rows])
            viral.append(scores.viral)
            velocity.append(scores.velocity)
        return Predictions(
            np.concatenate(viral),
            np.log1p(np.concatenate(velocity)),
            split.is_viral,
            np.log1p(split.views_per_day),
        )

    def answers(self, dataset: Dataset, *, with_age: bool) -> SplitPredictions:
        """Predictions for val and test, with all available inputs."""
        val, test = (
            self.predict(self.inputs(split, with_age=with_age), split)
            for split in (dataset.val, dataset.test)
        )
        return SplitPredictions(val, test)
