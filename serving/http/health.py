"""What a poller and a browser learn from `/`."""

from serving.http.schemas import MODEL_NAME, Health
from serving.lifecycle.predictor import HEALTHY, Predictor
from serving.scoring.model import RELEASE


def health_of(predictor: Predictor) -> Health:
    """Whether the service can score now, and with what."""
    model = predictor.model
    return Health(
        status=predictor.status,
        model=MODEL_NAME,
        model_loaded=predictor.status == HEALTHY,
        model_version=model.version if model else RELEASE,
        device=predictor.settings.device,
        engine=predictor.settings.engine,
        checkpoint=model.card.name if model else predictor.settings.checkpoint,
        weights=str(model.card.provenance.get("source", "owner")) if model else None,
    )


def prefers_html(accept: str) -> bool:
    """Whether a client asks for a page: `text/html` by name, at least as much as JSON (RFC 9110, 12.5.1)."""
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
