"""FastAPI dependencies of the routes."""

from typing import Annotated

from fastapi import Depends, Request

from serving.lifecycle.predictor import Predictor


async def get_predictor(request: Request) -> Predictor:
    """The predictor from the lifespan; async because FastAPI runs other functions in a thread."""
    predictor: Predictor = request.state.predictor
    return predictor


PredictorDep = Annotated[Predictor, Depends(get_predictor)]
