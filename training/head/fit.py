"""Fits a head on the encoders' vectors: from a dataset to a calibrated checkpoint."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from features import MILES_V1, FeatureScaler, compute_features
from model.card import ModelCard
from model.checkpoint.store import Checkpoint
from model.low_rank import LowRankHead
from model.torch_engine import TorchEngine
from model.velocity import LogVelocity
from training.data.dataset import Dataset, Split
from training.embeddings.images import ImageEmbeddings
from training.embeddings.text import TextEmbeddings
from training.encoders import Encoders
from training.evaluate import predict
from training.head.calibration import fit_calibration, shifted
from training.head.ensemble import Ensemble
from training.head.inputs import HeadInputs, droppable
from training.head.train import Recipe, train_ensemble
from training.metrics import Predictions

FloatArray = NDArray[np.float64]
SECONDS_PER_DAY = 86400.0
MAX_TOKENS = 128


def untrained_checkpoint(encoders: Encoders, dataset: Dataset, recipe: Recipe, seed: int) -> Checkpoint:
    """The encoders with a head of zeros and the statistics of the training rows."""
    config = encoders.config.with_scalars(len(MILES_V1))
    card = ModelCard(
        config=config,
        scalar_features=MILES_V1,
        feature_stats=fit_scaler(dataset, recipe, seed).to_stats(),
        velocity=fit_velocity(dataset.train),
        temperature=1.0,
        text_fields=dataset.text_fields,
        max_tokens=min(MAX_TOKENS, config.text.max_positions),
        text_encoder=encoders.text,
    )
    return Checkpoint(card, {**encoders.state_dict, **_zero_head(encoders, len(MILES_V1))})


def _zero_head(encoders: Encoders, scalars: int) -> dict[str, torch.Tensor]:
    wide, narrow = encoders.config.hidden
    shapes = {
        "fusion.0": (wide, encoders.config.with_scalars(scalars).fused_dim),
        "fusion.3": (narrow, wide),
        "classifier": (2, narrow),
        "regressor": (1, narrow),
    }
    weights = {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    return {**weights, **{f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}}


def fit_scaler(dataset: Dataset, recipe: Recipe, seed: int) -> FeatureScaler:
    """Statistics of the train rows as in training, where some lack their age or description."""
    videos, draw = dataset.train.videos, np.random.default_rng(seed)
    for name, without in droppable(dataset).items():
        silent = draw.random(len(videos)) < recipe.dropped(name)
        changed = without(videos)
        videos = [changed[row] if silent[row] else video for row, video in enumerate(videos)]
    return FeatureScaler().fit(compute_features(videos, MILES_V1), MILES_V1)


def fit_velocity(train: Split) -> LogVelocity:
    """The standardisation of the target, with videos weighted equally; `high` is the maximum."""
    logs = np.log1p(train.views_per_day)
    mean = float(np.average(logs, weights=train.weights))
    scale = float(np.sqrt(np.average((logs - mean) ** 2, weights=train.weights)))
    return LogVelocity(mean=mean, scale=scale, high=float(logs.max()))


def fit_head(
    base: Checkpoint,
    dataset: Dataset,
    texts: TextEmbeddings,
    recipe: Recipe,
    seed: int,
    images: ImageEmbeddings | None = None,
) -> tuple[Checkpoint, LowRankHead]:
    """`base` with a head that is trained on train and calibrated on val, and the head's factors.

    The same rows, vectors, recipe and seed give the same weights on the same machine.
    """
    torch.use_deterministic_algorithms(mode=True)
    assert isinstance(base.card.velocity, LogVelocity), "untrained_checkpoint fits one"
    scaler = FeatureScaler.from_stats(base.card.feature_stats, MILES_V1)
    # Without image dimensions the head sees no images.
    seen = images if recipe.image_dims else None
    inputs = HeadInputs.fit(dataset, texts, seen, scaler, recipe)
    train, val = (
        inputs.rows(split, base.card.velocity, weights)
        for split, weights in (
            (dataset.train, recency_weights(dataset.train, recipe.half_life_days)),
            (dataset.val, dataset.val.weights),
        )
    )
    config = base.card.config
    ensemble = Ensemble(recipe.members, train.inputs.shape[1], config.hidden, config.dropout, seed)
    trained = train_ensemble(ensemble, train, val, recipe, seed)
    head = trained.to_head(inputs.text, inputs.used, len(MILES_V1), inputs.image)
    calibration = fit_calibration(*_predict_val(_with_head(base, head), dataset, texts, seen))
    head = shifted(head, calibration, scaler, base.card.velocity.scale)
    checkpoint = _with_head(base, head)
    # Not validated: an ablation that learned nothing may have an extreme temperature, and is only measured.
    card = checkpoint.card.model_copy(update={"temperature": calibration.temperature})
    return replace(checkpoint, card=card), head


def _with_head(base: Checkpoint, head: LowRankHead) -> Checkpoint:
    return replace(base, state_dict={**base.state_dict, **head.state_dict(base.card.config.image_dim)})


def _predict_val(
    checkpoint: Checkpoint, dataset: Dataset, texts: TextEmbeddings, images: ImageEmbeddings | None
) -> tuple[Predictions, Predictions]:
    """The checkpoint's predictions for val, with and without the age."""
    engine, val = TorchEngine(checkpoint), dataset.val
    image = None if images is None else images.of(val)
    with_age, ageless = (
        predict(engine, checkpoint, val, texts.of(val.videos), with_age=known, image=image)
        for known in (True, False)
    )
    return with_age, ageless


def recency_weights(split: Split, half_life_days: float) -> FloatArray:
    """(N,) weights with mean 1 that halve with every `half_life_days` before the newest row; 0: all equal.

    A row without a time has the average weight.
    """
    moments = [video.observed_at or video.published_at for video in split.videos]
    times = np.array([moment.timestamp() if moment else np.nan for moment in moments])
    if half_life_days == 0 or np.isnan(times).all():
        return np.ones(len(split))
    days = (np.nanmax(times) - times) / SECONDS_PER_DAY
    weights: FloatArray = 0.5 ** (days / half_life_days)
    weights = np.where(np.isnan(weights), np.nanmean(weights), weights)
    weights /= weights.mean()
    return weights
