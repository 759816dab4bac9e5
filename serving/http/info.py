"""What `/`, `/health/ready` and `/model/info` answer: whether the service can score, and with which model."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from features import features_named
from model import VERSION
from serving.http.problems import also_as
from serving.http.schemas import MAX_BATCH_VIDEOS
from serving.lifecycle.predictor import HEALTHY, Predictor
from serving.scoring.explanation import players_of
from serving.scoring.model import RELEASE, LoadedModel
from serving.scoring.warnings import FEWEST_ROWS, SCORE, WINDOW_ROWS
from serving.settings import Settings

ABOUT: dict[str, Any] = {
    "title": "Miles",
    "version": VERSION,
    "description": "Scores short-form videos before they take off.",
}
MODEL_NAME = f"Miles v{VERSION.rpartition('.')[0]}"


class Health(BaseModel):
    """Whether the service can score, and with which model."""

    status: str = Field(description="`healthy`, `loading`, or why the model is unavailable.")
    model: str
    model_loaded: bool
    model_version: str
    device: str
    engine: str
    checkpoint: str
    weights: str | None = Field(description="Origin of the weights: demo, trained or owner.")


UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {"model": Health, "description": "The model is loading or has failed; see `status`."}
}
HOME = UNHEALTHY | also_as("text/html", "The web page, for browsers.")


def health_response(predictor: Predictor, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The predictor's `Health`: 200 if it can score now, else 503."""
    model = predictor.model
    health = Health(
        status=predictor.status,
        model=MODEL_NAME,
        model_loaded=predictor.status == HEALTHY,
        model_version=model.version if model else RELEASE,
        device=predictor.settings.device,
        engine=predictor.settings.engine,
        checkpoint=model.card.name if model else predictor.settings.checkpoint,
        weights=str(model.card.provenance.get("source", "owner")) if model else None,
    )
    return JSONResponse(health.model_dump(), 200 if health.model_loaded else 503, headers)


def prefers_html(accept: str) -> bool:
    """Whether `Accept` names text/html and does not prefer JSON to it (RFC 9110, 12.5.1)."""
    weights = dict(_weight(entry) for entry in accept.lower().split(","))
    html = weights.get("text/html", 0.0)
    return html > 0 and html >= weights.get("application/json", 0.0)


def _weight(entry: str) -> tuple[str, float]:
    media_type, *parameters = (part.strip() for part in entry.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return media_type, float(value)
            except ValueError:
                return media_type, 0.0
    return media_type, 1.0


def describe(model: LoadedModel, settings: Settings) -> dict[str, Any]:
    """The answer of `/model/info`: everything that a score depends on."""
    card, config = model.card, model.card.config
    return {
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
            "encoder": card.text_encoder and card.text_encoder.model_dump(),
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
            "patterns": {name: pattern.model_dump() for name, pattern in card.patterns.items()},
            "interval_coverage": card.interval_coverage,
        },
        "comparison": card.meaningful_difference and card.meaningful_difference.model_dump(),
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
    text = "embedding of an empty text" if model.mean_text is None else "mean embedding of the training texts"
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
