"""Many videos in one call: each item is checked, scored and answered on its own."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic import ValidationError

from serving.errors import field_errors, problem, problem_of
from serving.pipeline import Prediction
from serving.predictor import Predictor
from serving.schemas import FailedItem, PredictRequest, PredictResponse
from serving.telemetry import Telemetry

Entry = PredictResponse | FailedItem


async def score_each(
    predictor: Predictor, videos: Sequence[Any], instance: str, telemetry: Telemetry, timings: bool
) -> AsyncIterator[tuple[int, Entry]]:
    """(index, entry) for every item of `videos`, refused ones first, the others as they finish."""
    accepted: dict[int, PredictRequest] = {}
    for index, video in enumerate(videos):
        try:
            accepted[index] = PredictRequest.model_validate(video)
        except ValidationError as exc:
            yield index, _refused(exc, instance)
    indices = list(accepted)
    requests = [request.to_domain() for request in accepted.values()]
    async for position, outcome in predictor.predict_each(requests):
        if isinstance(outcome, Prediction):
            telemetry.count_prediction(outcome)
            yield indices[position], PredictResponse.of(outcome, timings)
        else:
            yield indices[position], FailedItem.model_validate({"error": problem_of(outcome, instance)})


def _refused(exc: ValidationError, instance: str) -> FailedItem:
    errors = field_errors(exc.errors(include_url=False, include_input=False, include_context=False))
    detail = f"{errors[0]['field']}: {errors[0]['message']}"
    return FailedItem.model_validate({"error": problem(422, detail, instance, errors)})
