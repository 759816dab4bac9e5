"""Statistics of the training rows that a checkpoint carries for drift metrics, warnings and explanations."""

from typing import Any

import numpy as np

from features import Distribution, compute_features, fit_distributions
from model.checkpoint.store import Checkpoint
from model.engine import Engine, Vectors
from training.data.dataset import Split
from training.embeddings.images import ImageEmbeddings
from training.embeddings.text import TextEmbeddings
from training.measure.scorer import predict
from training.title_words import word_statistics

SCORE = "viral_score"
PlainDistribution = dict[str, list[float]]


def training_distributions(
    engine: Engine,
    checkpoint: Checkpoint,
    train: Split,
    texts: TextEmbeddings,
    images: ImageEmbeddings | None = None,
) -> dict[str, PlainDistribution]:
    """A checkpoint's `distributions`: every feature that varies in `train`, and the scores of its rows.

    The rows have their ages: the ages that training drops at random do not count as missing.
    """
    rows = compute_features(train.videos, checkpoint.card.scalar_features)
    fitted = fit_distributions(rows, checkpoint.card.scalar_features)
    image = None if images is None else images.of(train)
    scores = Distribution.fit(predict(engine, checkpoint, train, texts.of(train.videos), image=image).viral)
    if scores is not None:
        fitted[SCORE] = scores
    return {name: distribution.to_plain() for name, distribution in fitted.items()}


def title_statistics(train: Split, vectors: Vectors) -> dict[str, Any]:
    """A checkpoint's `titles`: the mean of the (N, D) text vectors, weighted by video, and their words."""
    mean = np.average(vectors.astype(np.float64), axis=0, weights=train.weights)  # (D,)
    return {
        "mean_vector": mean.astype(np.float32).tolist(),
        **word_statistics(sorted({video.title for video in train.videos})),
    }
