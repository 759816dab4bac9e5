"""Batches: each item is validated, scored and answered independently."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.types import Scope

from serving.errors import MilesError, RateLimitedError
from serving.http.answers import FailedItem, PredictResponse, answered
from serving.http.problems import instance_of, invalid_fields, problem, problem_of
from serving.http.rate_limit import Allowance
from serving.http.requests import Options, PredictRequest
from serving.lifecycle.predictor import Predictor
from serving.observability.metrics import Metrics
from serving.scoring.pipeline import Prediction, ScoringRequest

Entry = PredictResponse | FailedItem
NOTHING_MORE = Options()


async def score_each(
    predictor: Predictor,
    videos: Sequence[Any],
    scope: Scope,
    metrics: Metrics,
    *,
    options: Options = NOTHING_MORE,
    schema: type[PredictRequest] = PredictRequest,
    counted: int = 1,
) -> AsyncIterator[tuple[int, Entry]]:
    """(index, entry) for every item of `videos`: refused ones first, the others as they finish.

    `scope` is the request's, with its deadline and its client's allowance, from which `counted` videos have
    already been taken. `schema` validates an item.
    """
    instance = instance_of(scope)
    allowance: Allowance | None = scope.get("allowance")
    granted = len(videos)
    if allowance is not None:
        granted = counted + allowance.take(len(videos) - counted)
    accepted: dict[int, ScoringRequest] = {}
    for index, video in enumerate(videos):
        if allowance is not None and index >= granted:
            yield index, _failed(allowance.refuse(), instance)
            continue
        await asyncio.sleep(0)  # validating a whole batch at once would hold up other requests
        item = checked(video, instance, schema)
        if isinstance(item, FailedItem):
            yield index, item
            continue
        try:
            accepted[index] = item.charged(scope)
        except RateLimitedError as exc:
            yield index, _failed(exc, instance)
    indices = list(accepted)
    async for position, outcome in predictor.predict_each(list(accepted.values()), scope.get("deadline")):
        if isinstance(outcome, Prediction):
            metrics.count_prediction(outcome)
            yield indices[position], await answered(outcome, options, scope)
        else:
            yield indices[position], _failed(outcome, instance)


def checked(
    video: Any, instance: str, schema: type[PredictRequest] = PredictRequest
) -> PredictRequest | FailedItem:
    """The item as a request, or the problem with it."""
    try:
        return schema.model_validate(video)
    except ValidationError as exc:
        return _refused(exc, instance)


def _failed(error: MilesError, instance: str) -> FailedItem:
    return FailedItem.model_validate({"error": problem_of(error, instance)})


def _refused(exc: ValidationError, instance: str) -> FailedItem:
    detail, errors = invalid_fields(exc.errors(include_url=False))
    return FailedItem.model_validate({"error": problem(422, detail, instance, errors)})
