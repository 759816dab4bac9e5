"""Requests and answers as typed structures. Fields that a newer service adds are ignored."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

Count = int | str | None
Time = datetime | str | int | None


class Video(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One video; None means unknown. A mapping with these names, such as a database row, works as well."""

    title: str
    description: str | None = None
    thumbnail_url: str | None = None
    view_count: Count = None
    like_count: Count = None
    comment_count: Count = None
    duration_seconds: float | str | None = None
    published_at: Time = None
    observed_at: Time = None
    """When the counts were read; now unless given."""
    previous_view_count: Count = None
    previous_observed_at: Time = None
    share_count: Count = None
    save_count: Count = None
    completion_rate: float | None = None
    creator_avg_views: float | None = None
    require: list[Literal["text", "image", "scalars"]] = []
    explain: bool = False


AnyVideo = Video | Mapping[str, Any]


class ModalityState(msgspec.Struct, kw_only=True, frozen=True):
    """How one modality was used: `state` is used, missing, failed, truncated or imputed."""

    state: str
    reason: str | None = None
    detail: str | None = None


class ScalarsState(ModalityState, kw_only=True, frozen=True):
    """How the numbers and times were used; `imputed` names the request's unknown fields."""

    imputed: list[str] = []


class Modalities(msgspec.Struct, kw_only=True, frozen=True):
    """How each modality was used."""

    text: ModalityState
    image: ModalityState
    scalars: ScalarsState


class VelocityInterval(msgspec.Struct, kw_only=True, frozen=True):
    """Views per day, `low` to `high`; `coverage` is the share of videos within it."""

    low: float
    high: float
    coverage: float


class Timings(msgspec.Struct, kw_only=True, frozen=True):
    """Milliseconds per stage."""

    queue: float
    download: float
    decode: float
    tokenise: float
    text: float
    image: float
    fusion: float
    explanation: float
    total: float
    cached: list[str]


class Baseline(msgspec.Struct, kw_only=True, frozen=True):
    """The score of a video about which nothing is known."""

    viral_score: float
    predicted_velocity: float


class Contribution(msgspec.Struct, kw_only=True, frozen=True):
    """What one group of inputs added to the score, or subtracted from it."""

    group: str
    label: str
    modality: str
    features: list[str]
    viral_score: float
    predicted_velocity: float
    unknown: list[str]


class Explanation(msgspec.Struct, kw_only=True, frozen=True):
    """Exact Shapley values, the largest first; with the baseline they add up to the score."""

    baseline: Baseline
    contributions: list[Contribution]


class ShadowScore(msgspec.Struct, kw_only=True, frozen=True):
    """Another checkpoint's score for the same video."""

    model_version: str
    viral_score: float
    predicted_velocity: float
    velocity_interval: VelocityInterval | None


class Prediction(msgspec.Struct, kw_only=True, frozen=True):
    """A score and what it is based on.

    `predicted_velocity` is in views per day. `in_range` is False if the score is an extrapolation;
    `confidence` is then None.
    """

    viral_score: float
    predicted_velocity: float
    velocity_interval: VelocityInterval | None
    confidence: float | None
    in_range: bool
    processing_time_ms: int
    model_version: str
    modalities: Modalities
    warnings: list[str]
    timings_ms: Timings | None = None
    explanation: Explanation | None = None
    shadow: ShadowScore | None = None


class Problem(msgspec.Struct, kw_only=True, frozen=True):
    """Why there is no score (RFC 9457); `detail` says what to do."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, str]] = []


class Entry(msgspec.Struct, frozen=True):
    """One video's result in a batch: a prediction, or the problem with this video."""

    index: int
    prediction: Prediction | None = None
    error: Problem | None = None


class Variation(msgspec.Struct, kw_only=True, frozen=True):
    """A changed video and its score, or why it has none."""

    changes: dict[str, Any]
    prediction: Prediction | None = None
    error: Problem | None = None


class Explained(Prediction, kw_only=True, frozen=True):
    """A score with its explanation, and the scores of variations in the order of the request."""

    what_if: list[Variation] = []


class Health(msgspec.Struct, kw_only=True, frozen=True):
    """Whether the service can score, and with which model; `status` says why not."""

    status: str
    model: str
    model_loaded: bool
    model_version: str
    device: str
    engine: str
    checkpoint: str
    weights: str | None = None
