"""What a route may ask for by its type."""

from typing import Annotated

from fastapi import Depends, Request

from serving.lifecycle.predictor import Predictor


async def get_predictor(request: Request) -> Predictor:
    """The predictor that the lifespan opened; async, because FastAPI runs plain functions in a thread."""
    predictor: Predictor = request.state.predictor
    return predictor


PredictorDep = Annotated[Predictor, Depends(get_predictor)]
