"""`/explain`: one video's score, what moved it, and the scores of variations of the video."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from starlette.types import Scope

from features.parsing import OTHER_NAMES
from serving.http.answers import Explanation, FailedItem, PredictResponse
from serving.http.batch import score_each
from serving.http.problems import Problem
from serving.http.requests import EXAMPLE, MAX_REQUIRED, PredictRequest, Text, refusal
from serving.lifecycle.predictor import Predictor
from serving.observability.metrics import Metrics
from serving.scoring.pipeline import ScoringRequest

MAX_CHANGES = 16
MAX_CHANGED_FIELDS = 32


def _in_one_sentence(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """One error instead of one for each type of the union."""
    try:
        return handler(value)
    except ValidationError as exc:
        raise refusal("expected text, a finite number, true or false, a list of modalities, or null") from exc


Value = Annotated[
    Annotated[str, Text]
    | bool
    | int
    | Annotated[float, Field(allow_inf_nan=False)]
    | Annotated[list[Annotated[str, Text]], Field(max_length=MAX_REQUIRED)],
    WrapValidator(_in_one_sentence),
]


def _few(changes: Any) -> Any:
    """Count the changed fields first: pydantic collects the errors of all of them before it counts."""
    if isinstance(changes, dict) and len(changes) > MAX_CHANGED_FIELDS:
        raise refusal(f"has {len(changes)} fields, expected at most {MAX_CHANGED_FIELDS}")
    return changes


Changes = Annotated[
    dict[Annotated[str, Text], Value | None], Field(max_length=MAX_CHANGED_FIELDS), BeforeValidator(_few)
]


class ExplainRequest(PredictRequest):
    """A video, and variations of it to score."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE,
                    "what_if": [
                        {"title": "My morning routine"},
                        {"view_count": 150000},
                        {"thumbnail_url": ""},
                    ],
                }
            ]
        }
    )

    what_if: Annotated[list[Changes], Field(max_length=MAX_CHANGES)] | None = Field(
        None,
        description="Variations: request fields with other values. Each is scored like a separate request.",
    )

    def to_domain(self) -> ScoringRequest:
        """The request as the predictor takes it, always with an explanation."""
        return replace(super().to_domain(), explain=True)

    def changed(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """This request with `changes` applied, not validated."""
        video = self.model_dump(exclude={"explain", "what_if"})
        return video | {FIELD_BY_ALIAS.get(name, name): value for name, value in changes.items()}


class _ChangedRequest(PredictRequest):
    """Refuses unknown fields: a misspelt one would score the unchanged video."""

    model_config = ConfigDict(extra="forbid")


FIELD_BY_ALIAS = {alias: field for field, aliases in OTHER_NAMES.items() for alias in aliases}


class ChangedVideo(BaseModel):
    """A variation and its score."""

    changes: Changes
    prediction: PredictResponse


class FailedChange(BaseModel):
    """A variation that could not be scored."""

    changes: Changes
    error: Problem


class ExplainResponse(PredictResponse):
    """A score, what moved it, and the scores of the variations."""

    explanation: Explanation
    what_if: list[ChangedVideo | FailedChange] = Field(description="In the order of the request.")


async def explain_one(
    body: ExplainRequest, predictor: Predictor, scope: Scope, metrics: Metrics
) -> ExplainResponse:
    """The answer of `/explain`; the video goes first, so that its variations hit the cache."""
    prediction = await predictor.predict(body.charged(scope), scope["deadline"])
    metrics.count_prediction(prediction)
    what_if = body.what_if or []
    changed = [body.changed(changes) for changes in what_if]
    entries = score_each(predictor, changed, scope, metrics, schema=_ChangedRequest, counted=0)
    finished = {index: entry async for index, entry in entries}
    answer = PredictResponse.of(prediction)
    return ExplainResponse(
        **answer.model_dump(),
        what_if=[
            FailedChange(changes=changes, error=entry.error)
            if isinstance(entry := finished[index], FailedItem)
            else ChangedVideo(changes=changes, prediction=entry)
            for index, changes in enumerate(what_if)
        ],
    )
