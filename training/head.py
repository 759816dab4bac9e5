"""From videos and title vectors to a checkpoint with a trained, calibrated head."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from features import MILES_V1, FeatureScaler, compute_features
from model.checkpoint import Checkpoint
from model.engine import Vectors
from model.low_rank import LowRankHead
from model.torch_engine import TorchEngine
from model.velocity import LogVelocity
from training.calibration import fit_calibration, shifted
from training.dataset import Dataset, Split, without_age
from training.encoders import Encoders
from training.evaluate import predict
from training.loop import Recipe, Rows, train_members
from training.members import Members
from training.metrics import Predictions
from training.projection import TitleProjection
from training.vectors import TitleVectors

FloatArray = NDArray[np.float64]
TEXT_FIELDS = ("title",)
SECONDS_PER_DAY = 86400.0


def untrained_checkpoint(encoders: Encoders, dataset: Dataset, recipe: Recipe, seed: int) -> Checkpoint:
    """The encoders with a head of zeros, and every statistic that the training rows teach."""
    config = encoders.config.with_scalars(len(MILES_V1))
    return Checkpoint(
        config=config,
        state_dict={**encoders.state_dict, **_zero_head(encoders, len(MILES_V1))},
        scalar_features=MILES_V1,
        feature_stats=fit_scaler(dataset.train, recipe, seed).to_stats(),
        velocity=fit_velocity(dataset.train),
        temperature=1.0,
        text_fields=TEXT_FIELDS,
    )


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


def fit_scaler(train: Split, recipe: Recipe, seed: int) -> FeatureScaler:
    """Statistics of the train rows as the head meets them: some do not tell their age."""
    silent = np.random.default_rng(seed).random(len(train)) < recipe.age_dropped
    ageless = without_age(train.videos)
    videos = [ageless[row] if silent[row] else video for row, video in enumerate(train.videos)]
    return FeatureScaler().fit(compute_features(videos), MILES_V1)


def fit_velocity(train: Split) -> LogVelocity:
    """How the target is standardised: every video counts alike; `high` is the largest that was seen."""
    logs = np.log1p(train.views_per_day)
    mean = float(np.average(logs, weights=train.weights))
    scale = float(np.sqrt(np.average((logs - mean) ** 2, weights=train.weights)))
    return LogVelocity(mean=mean, scale=scale, high=float(logs.max()))


def fit_head(
    base: Checkpoint, dataset: Dataset, titles: TitleVectors, recipe: Recipe, seed: int
) -> tuple[Checkpoint, LowRankHead]:
    """`base` with a head trained on train and stopped and calibrated on val, and that head's factors.

    The same rows, vectors, recipe and seed give the same weights on the same machine.
    """
    torch.use_deterministic_algorithms(mode=True)
    assert base.feature_stats is not None, "an untrained checkpoint has its statistics"
    assert isinstance(base.velocity, LogVelocity), "an untrained checkpoint has its statistics"
    scaler = FeatureScaler.from_stats(base.feature_stats, MILES_V1)
    # A feature that never varied teaches nothing; its column stays zero.
    used = [int(column) for column in np.flatnonzero(~scaler.is_constant_)]
    projection = TitleProjection().fit(
        titles.of(dataset.train.videos), dataset.train.weights, recipe.text_dims
    )
    train, val = (
        _rows(split, projection.transform(titles.of(split.videos)), scaler, used, base, weights)
        for split, weights in (
            (dataset.train, recency_weights(dataset.train, recipe.half_life_days)),
            (dataset.val, dataset.val.weights),
        )
    )
    config = base.config
    members = Members(recipe.members, train.inputs.shape[1], config.hidden, config.dropout, seed)
    trained = train_members(members, train, val, recipe, seed)
    head = trained.to_head(projection, used, len(MILES_V1))
    calibration = fit_calibration(*_predict_val(_with_head(base, head), dataset, titles))
    head = shifted(head, calibration, scaler, base.velocity.scale)
    return replace(_with_head(base, head), temperature=calibration.temperature), head


def _with_head(base: Checkpoint, head: LowRankHead) -> Checkpoint:
    return replace(base, state_dict={**base.state_dict, **head.state_dict(base.config.image_dim)})


def _predict_val(
    checkpoint: Checkpoint, dataset: Dataset, titles: TitleVectors
) -> tuple[Predictions, Predictions]:
    """What `checkpoint` says of val, with the age and without it."""
    engine, text = TorchEngine(checkpoint), titles.of(dataset.val.videos)
    with_age, ageless = (
        predict(engine, checkpoint, dataset.val, text, with_age=known) for known in (True, False)
    )
    return with_age, ageless


def recency_weights(split: Split, half_life_days: float) -> FloatArray:
    """(N,) weights that halve with every `half_life_days` before the newest row, their mean 1."""
    times = np.array([video.observed_at.timestamp() for video in split.videos if video.observed_at])
    days = (times.max() - times) / SECONDS_PER_DAY
    weights: FloatArray = 0.5 ** (days / half_life_days)
    weights /= weights.mean()
    return weights


def _rows(
    split: Split, text: Vectors, scaler: FeatureScaler, used: list[int], base: Checkpoint, weights: FloatArray
) -> Rows:
    assert base.velocity is not None, "an untrained checkpoint has its statistics"
    with_age, ageless = (
        np.hstack([text, scaler.transform(compute_features(videos))[:, used]])
        for videos in (split.videos, without_age(split.videos))
    )
    return Rows(
        inputs=torch.from_numpy(with_age),
        ageless=torch.from_numpy(ageless),
        is_viral=torch.from_numpy(split.is_viral.astype(np.int64)),
        target=torch.from_numpy(base.velocity.apply(split.views_per_day).astype(np.float32)),
        weights=torch.from_numpy(weights.astype(np.float32)),
    )
