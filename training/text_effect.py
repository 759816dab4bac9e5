"""The smallest difference between two texts that means something for a checkpoint, measured on test."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.card import MeaningfulDifference
from model.checkpoint.store import Checkpoint
from model.engine import Vectors
from model.torch_engine import TorchEngine
from training.data.dataset import Dataset
from training.embeddings.text import TextEmbeddings
from training.head.knowns import hidden, learned_groups, patterns_in
from training.measure.scorer import predict

FloatArray = NDArray[np.float64]
PARTS = 20  # equal parts of the rows by the size of the text's effect
CONFIDENCE = 1.96  # standard errors: 95%
MIN_VIDEOS = 30  # per part


def meaningful_difference(
    checkpoint: Checkpoint, dataset: Dataset, texts: TextEmbeddings, mean_text: Vectors
) -> MeaningfulDifference | None:
    """The smallest effect of a text from which on effects point where the outcome went.

    The effect is the prediction with the text minus that with the training titles' mean vector, for requests
    of every pattern. None where not even the largest effects do, or texts have no weight.
    """
    if "text" in checkpoint.card.zero_weight_modalities:
        return None
    engine, split = TorchEngine(checkpoint), dataset.test
    text = texts.of(split.videos)
    neutral = np.broadcast_to(mean_text, text.shape)
    viral, velocity = [], []
    for groups in patterns_in(learned_groups(dataset)).values():
        rows = replace(split, videos=hidden(split.videos, groups))
        told, untold = (predict(engine, checkpoint, rows, each) for each in (text, neutral))
        viral.append((told.viral - untold.viral, told.is_viral - untold.viral))
        velocity.append(
            (told.log_velocity - untold.log_velocity, told.true_log_velocity - untold.log_velocity)
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
    """The smallest size of N effects at and above which outcomes go in their direction; None without one.

    Outcomes are relative to the prediction without the effect. Sizes are cut into equal parts; from the
    answer on, in each part the mean of sign(effect) times outcome, each video counting once, is above 0 with
    95% confidence.
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
