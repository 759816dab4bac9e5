"""Fits a head on the encoders' vectors: from a dataset to a calibrated checkpoint."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from features import OPTIONAL, FeatureScaler, compute_features
from model.card import ImageReading, ModelCard
from model.checkpoint.store import Checkpoint
from model.low_rank import LowRankHead
from model.outputs import LogVelocity, Pattern, groups_in
from training.data.dataset import Dataset, Split
from training.embeddings.images import ImageEmbeddings
from training.embeddings.text import TextEmbeddings
from training.encoders import Encoders
from training.head.calibration import COVERAGE, fit_pattern
from training.head.ensemble import Ensemble
from training.head.inputs import HeadInputs
from training.head.knowns import HIDDEN, features_of, hidden, hidden_where, learned_groups
from training.head.train import Rows, draw_hidden, train_ensemble
from training.recipe import Recipe

FloatArray = NDArray[np.float64]
SECONDS_PER_DAY = 86400.0


@dataclass(frozen=True)
class Trained:
    """A calibrated checkpoint, its head's factors, and its loss on val over all patterns."""

    checkpoint: Checkpoint
    head: LowRankHead
    loss: float


def untrained_checkpoint(encoders: Encoders, dataset: Dataset, recipe: Recipe, seed: int) -> Checkpoint:
    """The encoders with a head of zeros and the statistics of the training rows."""
    names = features_of(dataset)
    config = encoders.config.with_scalars(len(names))
    card = ModelCard(
        config=config,
        scalar_features=names,
        feature_stats=fit_scaler(dataset, recipe, seed).to_stats(),
        velocity=fit_velocity(dataset.train),
        temperature=1.0,
        text_fields=dataset.text_fields,
        text_encoder=encoders.text,
        image=ImageReading(**asdict(encoders.reading)),
    )
    return Checkpoint(card, {**encoders.state_dict, **_zero_head(encoders, len(names))})


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
    """Statistics of the train rows as in training, where some groups are hidden."""
    groups = learned_groups(dataset)
    videos = hidden(dataset.train.videos, [group for group in HIDDEN if group not in groups])
    generator = torch.Generator().manual_seed(seed)
    videos = hidden_where(videos, draw_hidden(groups, torch.Size([len(videos)]), recipe, generator))
    names = features_of(dataset)
    return FeatureScaler().fit(compute_features(videos, names), names)


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
) -> Trained:
    """`base` with a head that is trained on train and calibrated on val.

    The same rows, vectors, recipe and seed give the same weights on the same machine.
    """
    torch.use_deterministic_algorithms(mode=True)
    assert isinstance(base.card.velocity, LogVelocity), "untrained_checkpoint fits one"
    scaler = FeatureScaler.from_stats(base.card.feature_stats, base.card.scalar_features)
    # Without image dimensions the head sees no images.
    seen = images if recipe.image_dims else None
    inputs = HeadInputs.fit(dataset, texts, seen, scaler, recipe)
    train, val = (
        inputs.rows(split, base.card.velocity, weights)
        for split, weights in (
            (dataset.train, recency_weights(dataset.train, recipe.half_life_days)),
            (dataset.val, np.ones(len(dataset.val))),
        )
    )
    config = base.card.config
    ensemble = Ensemble(recipe.members, train.inputs.shape[1], config.hidden, recipe.dropout, seed)
    trained, loss = train_ensemble(ensemble, train, val, recipe, seed)
    head = trained.to_head(inputs.text, inputs.used, len(base.card.scalar_features), inputs.image)
    checkpoint = _with_head(base, head).with_card(
        temperature=None,
        patterns=_calibrated(trained, val, base.card.velocity.scale),
        interval_coverage=COVERAGE,
    )
    return Trained(checkpoint, head, loss)


@torch.no_grad()
def _calibrated(trained: Ensemble, val: Rows, scale: float) -> dict[str, Pattern]:
    """Each pattern that has rows, fitted on the val rows that know at least its groups.

    No pattern has the optional groups, so each row counts once with them and once without.
    """
    patterns, ids = {}, np.array(val.video_ids)
    optional = tuple(group for group in val.hidden if group in OPTIONAL)
    more = ((), optional) if optional else ((),)
    for name, groups in val.patterns.items():
        rows = np.ones(len(val), dtype=np.bool_)
        for group in groups_in(name):
            rows &= val.known[group].numpy()
        inputs = torch.cat([val.without((*groups, *each))[rows] for each in more])
        outputs = trained(inputs).mean(dim=0).double().numpy()  # (N, 3)
        target, is_viral = (np.tile(each.numpy()[rows], len(more)) for each in (val.target, val.is_viral))
        errors = (target.astype(np.float64) - outputs[:, 2]) * scale
        logits, is_viral = outputs[:, 1] - outputs[:, 0], is_viral == 1
        patterns[name] = fit_pattern(logits, is_viral, errors, len(set(ids[rows])))
    return patterns


def _with_head(base: Checkpoint, head: LowRankHead) -> Checkpoint:
    return replace(base, state_dict={**base.state_dict, **head.state_dict(base.card.config.image_dim)})


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
