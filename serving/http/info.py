"""What `/` and `/health/ready` answer: whether the service can score."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from model import VERSION
from serving.http.problems import also_as
from serving.lifecycle.predictor import HEALTHY, Predictor
from serving.scoring.model import RELEASE

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
