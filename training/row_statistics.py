"""Statistics of rows that a checkpoint carries for drift metrics, warnings, explanations and comparisons."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features import Distribution, compute_features, fit_distributions
from model.card import MeaningfulDifference
from model.checkpoint.store import Checkpoint
from model.engine import Engine, Vectors
from model.torch_engine import TorchEngine
from training.data.dataset import Dataset, Split
from training.embeddings.images import ImageEmbeddings
from training.embeddings.text import TextEmbeddings
from training.head.knowns import hidden, learned_groups, patterns_in
from training.measure.scorer import predict
from training.title_words import word_statistics

SCORE = "viral_score"
FloatArray = NDArray[np.float64]
PARTS = 20  # equal parts of the rows by the size of the text's effect
CONFIDENCE = 1.96  # standard errors: 95%
MIN_VIDEOS = 30  # per part
PlainDistribution = dict[str, list[float]]


def training_distributions(
    engine: Engine,
    checkpoint: Checkpoint,
    train: Split,
    texts: TextEmbeddings,
    images: ImageEmbeddings | None = None,
) -> dict[str, PlainDistribution]:
    """A checkpoint's `distributions`: every feature that varies in `train`, and the scores of its rows.

    The rows keep their ages: the ages that training hides at random do not count as missing.
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


def meaningful_difference(
    checkpoint: Checkpoint, dataset: Dataset, texts: TextEmbeddings, mean_text: Vectors
) -> MeaningfulDifference | None:
    """The smallest size at and above which effects of a text point in the direction of the outcome.

    The effect is the prediction with the text minus that with the training titles' mean vector, for requests
    of every pattern. None if not even the largest effects do, or if texts have no weight.
    """
    if "text" in checkpoint.card.zero_weight_modalities:
        return None
    engine, split = TorchEngine(checkpoint), dataset.test
    text = texts.of(split.videos)
    neutral = np.broadcast_to(mean_text, text.shape)
    viral, velocity = [], []
    for groups in patterns_in(learned_groups(dataset)).values():
        rows = replace(split, videos=hidden(split.videos, groups))
        with_text, without_text = (predict(engine, checkpoint, rows, each) for each in (text, neutral))
        viral.append((with_text.viral - without_text.viral, with_text.is_viral - without_text.viral))
        velocity.append(
            (
                with_text.log_velocity - without_text.log_velocity,
                with_text.true_log_velocity - without_text.log_velocity,
            )
        )
    ids = list(split.video_ids) * len(viral)
    score, log = (
        smallest_effect(
            np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs]), ids
        )
        for pairs in (viral, velocity)
    )
    if score is None or log is None:
        return None
    return MeaningfulDifference(viral_score=score, velocity=float(np.exp(log)))


def smallest_effect(effects: FloatArray, outcomes: FloatArray, videos: Sequence[str]) -> float | None:
    """The smallest size of N effects at and above which outcomes go in their direction; None if none.

    Outcomes are relative to the prediction without the effect. The sorted sizes are cut into equal parts;
    in each part from the returned size upwards, the mean of sign(effect) times outcome, each video counting
    once, is above 0 with 95% confidence.
    """
    sizes = np.abs(effects)
    order = np.argsort(sizes, kind="stable")
    _, index = np.unique(np.asarray(videos), return_inverse=True)
    smallest = None
    for part in np.array_split(order, PARTS)[::-1]:
        agreement = np.sign(effects[part]) * outcomes[part]
        counts = np.bincount(index[part])
        means = np.bincount(index[part], weights=agreement)[counts > 0] / counts[counts > 0]
        error = means.std() / np.sqrt(len(means))
        if len(means) < MIN_VIDEOS or means.mean() <= CONFIDENCE * error:
            break
        smallest = float(sizes[part].min())
    return smallest
