"""What `/model/info` answers: everything that a score depends on, typed."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from features import features_named
from model.card import MeaningfulDifference, TextEncoderInfo
from model.outputs import Pattern
from serving.http.info import MODEL_NAME
from serving.http.requests import MAX_BATCH_VIDEOS
from serving.scoring.explanation import players_of
from serving.scoring.model import LoadedModel
from serving.scoring.warnings import FEWEST_ROWS, SCORE, WINDOW_ROWS
from serving.settings import Settings


class _Described(BaseModel):
    """A value without a field here is an error instead of being silently omitted from the answer."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, serialize_by_alias=True)


class Heads(_Described):
    """The network's two outputs."""

    classifier: str
    regressor: str


class Architecture(_Described):
    """The network."""

    class_: str = Field(alias="class")
    text_encoder: str | None
    image_encoder: str | None
    scalar_features: int
    fusion: str
    heads: Heads


class FeatureStatistics(_Described):
    """A feature's training data."""

    mean: float
    scale: float
    low: float | None
    high: float | None
    codes: list[float | None] | None = Field(
        None, exclude_if=lambda codes: codes is None, description="The codes of its values, if it has codes."
    )


class FeatureInfo(_Described):
    """One scalar feature."""

    name: str
    formula: str
    unit: str
    label: str
    group: str
    training: FeatureStatistics


class TextInfo(_Described):
    """How titles and descriptions are read."""

    fields: list[str]
    max_tokens: int
    encoder: TextEncoderInfo | None
    min_letters_per_piece: float | None


class EngineInfo(_Described):
    """The inference engine."""

    name: str
    device: str
    precision: str
    threads: int


class CheckpointInfo(_Described):
    """Which file serves."""

    name: str
    sha256: str
    bundle_sha256: str | None


class CalibrationInfo(_Described):
    """How logits become probabilities."""

    temperature: float | None
    calibrated: bool
    patterns: dict[str, Pattern] = Field(description="By what is known about a video.")
    interval_coverage: float | None


class TrainingInfo(_Described):
    """Where the weights come from, and their test metrics."""

    metrics: dict[str, Any]
    provenance: dict[str, Any]


class ExplanationInfo(_Described):
    """The players of the Shapley values, and what replaces one that is absent."""

    players: list[str]
    baseline: dict[str, str]


class DriftInfo(_Described):
    """What `miles_drift_psi` covers, and why it does not cover the rest."""

    watched: list[str]
    not_watched: dict[str, str]
    window_rows: int
    fewest_rows: int


class Limits(_Described):
    """What a request may be."""

    max_batch_videos: int
    max_request_bytes: int
    request_timeout_s: float
    thumbnail_max_bytes: int
    thumbnail_max_pixels: int
    thumbnail_timeout_s: float


class ModelInfo(_Described):
    """The model in service."""

    model: str
    model_version: str
    architecture: Architecture
    parameters: dict[str, int]
    modalities: list[str]
    modalities_without_weight: list[str]
    features: list[FeatureInfo]
    text: TextInfo
    engine: EngineInfo
    checkpoint: CheckpointInfo
    calibration: CalibrationInfo
    comparison: MeaningfulDifference | None = Field(
        description="Two texts of one video differ if their scores differ by more than this."
    )
    training: TrainingInfo
    fidelity: dict[str, Any] | None
    explanation: ExplanationInfo
    drift: DriftInfo
    golden_answers: int
    limits: Limits


def describe(model: LoadedModel, settings: Settings) -> ModelInfo:
    """The description of `model`."""
    card, config = model.card, model.card.config
    return ModelInfo.model_validate(
        {
            "model": MODEL_NAME,
            "model_version": model.version,
            "architecture": _architecture(model),
            "parameters": card.parameters,
            "modalities": list(config.modalities),
            "modalities_without_weight": list(card.zero_weight_modalities),
            "features": _features(model),
            "text": {
                "fields": list(card.text_fields),
                "max_tokens": card.max_tokens,
                "encoder": card.text_encoder,
                "min_letters_per_piece": card.titles.min_letters_per_piece,
            },
            "engine": {
                "name": model.engine.name,
                "device": model.engine.device,
                "precision": model.engine.precision,
                "threads": model.engine.threads,
            },
            "checkpoint": {"name": card.name, "sha256": card.sha256, "bundle_sha256": model.bundle_sha256},
            "calibration": {
                "temperature": card.temperature,
                "calibrated": card.temperature is not None or bool(card.patterns),
                "patterns": card.patterns,
                "interval_coverage": card.interval_coverage,
            },
            "comparison": card.meaningful_difference,
            "training": {"metrics": card.test_metrics, "provenance": card.provenance},
            "fidelity": model.fidelity,
            "explanation": _explanation(model),
            "drift": _drift(model),
            "golden_answers": len(card.golden.get("requests", ())),
            "limits": {
                "max_batch_videos": MAX_BATCH_VIDEOS,
                "max_request_bytes": settings.max_request_bytes,
                "request_timeout_s": settings.request_timeout_s,
                "thumbnail_max_bytes": settings.thumbnail_max_bytes,
                "thumbnail_max_pixels": settings.thumbnail_max_pixels,
                "thumbnail_timeout_s": settings.thumbnail_timeout_s,
            },
        }
    )


def _architecture(model: LoadedModel) -> dict[str, Any]:
    config = model.card.config
    return {
        "class": "MultimodalViralityPredictor",
        "text_encoder": f"BERT, {config.text.layers} layers, {config.text_dim}-d" if config.text else None,
        "image_encoder": f"ResNet, {sum(config.vision.stages)} blocks, {config.image_dim}-d"
        if config.vision
        else None,
        "scalar_features": config.scalars,
        "fusion": f"{config.fused_dim} -> {config.hidden[0]} -> {config.hidden[1]}",
        "heads": {"classifier": f"{config.hidden[1]} -> 2", "regressor": f"{config.hidden[1]} -> 1"},
    }


def _explanation(model: LoadedModel) -> dict[str, Any]:
    """The players of the Shapley values, and what replaces one that is absent."""
    has_mean = model.engine.mean_text is not None
    text = "mean embedding of the training texts" if has_mean else "embedding of an empty text"
    baseline = {"text": text, "image": "neutral image", "scalars": "training mean"}
    return {
        "players": [player.group for player in players_of(model)],
        "baseline": {modality: baseline[modality] for modality in model.card.config.modalities},
    }


def _drift(model: LoadedModel) -> dict[str, Any]:
    """What `miles_drift_psi` covers, and why it does not cover the rest."""
    constant = "constant in the training data"
    absent = "the checkpoint has no feature distributions"
    unscored = "the checkpoint has no score distribution"
    watched = model.distributions
    return {
        "watched": sorted(watched),
        "not_watched": {
            name: (unscored if name == SCORE else constant) if watched else absent
            for name in (*model.scaler.feature_names_in_, SCORE)
            if name not in watched
        },
        "window_rows": WINDOW_ROWS,
        "fewest_rows": FEWEST_ROWS,
    }


def _features(model: LoadedModel) -> list[dict[str, Any]]:
    stats = model.scaler.to_stats()
    return [
        {
            "name": feature.name,
            "formula": feature.formula,
            "unit": feature.unit,
            "label": feature.label,
            "group": feature.group.value,
            "training": stats[feature.name],
        }
        for feature in features_named(model.scaler.feature_names_in_)
    ]
