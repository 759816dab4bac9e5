"""What `/model/info` says: everything that a score depends on, in plain values."""

from typing import Any

from features import features_named
from serving.http.schemas import MAX_BATCH_VIDEOS, MODEL_NAME
from serving.scoring.drift import FEWEST_ROWS, SCORE, WINDOW_ROWS
from serving.scoring.explanation import players_of
from serving.scoring.model import LoadedModel
from serving.settings import Settings


def describe(model: LoadedModel, settings: Settings) -> dict[str, Any]:
    """The model's own account of itself."""
    card, config = model.card, model.card.config
    return {
        "model": MODEL_NAME,
        "model_version": model.version,
        "architecture": _architecture(model),
        "parameters": card.parameters,
        "modalities": list(config.modalities),
        "modalities_without_weight": list(card.zero_weight_modalities),
        "features": _features(model),
        "text": {"fields": list(card.text_fields), "max_tokens": card.max_tokens},
        "engine": {
            "name": model.engine.name,
            "device": model.engine.device,
            "precision": model.engine.precision,
            "threads": model.engine.threads,
        },
        "checkpoint": {"name": card.name, "sha256": card.sha256},
        "calibration": {
            "temperature": card.temperature,
            "calibrated": card.temperature is not None,
        },
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
        "text_encoder": f"BERT, {config.text.layers} layers, {config.text.output_dim}-d",
        "image_encoder": f"ResNet, {sum(config.vision.stages)} blocks, {config.image_dim}-d"
        if config.vision
        else None,
        "scalar_features": config.scalars,
        "fusion": f"{config.fused_dim} -> {config.hidden[0]} -> {config.hidden[1]}",
        "heads": {"classifier": f"{config.hidden[1]} -> 2", "regressor": f"{config.hidden[1]} -> 1"},
    }


def _explanation(model: LoadedModel) -> dict[str, Any]:
    """What shares a score out in an explanation, and what stands for a block that is absent."""
    text = "vector of an empty text" if model.mean_text is None else "mean vector of the training texts"
    baseline = {"text": text, "image": "the neutral image", "scalars": "the training mean"}
    return {
        "players": [player.group for player in players_of(model)],
        "baseline": {modality: baseline[modality] for modality in model.card.config.modalities},
    }


def _drift(model: LoadedModel) -> dict[str, Any]:
    """What `miles_drift_psi` watches, and why the rest is not."""
    constant = "did not vary in the training rows"
    absent = "the checkpoint does not say how its training rows were distributed"
    unscored = "the checkpoint does not say how its training rows scored"
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
            "training": stats[feature.name],
        }
        for feature in features_named(model.scaler.feature_names_in_)
    ]
