"""Typed client of Miles, which scores short-form videos before they take off."""

from miles_client.aio import AsyncClient
from miles_client.client import Client
from miles_client.errors import (
    AnswerError,
    AnswerTimeoutError,
    AsleepError,
    BusyError,
    IncompleteBatchError,
    KeyRefusedError,
    MilesError,
    ProblemError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
)
from miles_client.models import Entry, Explained, Health, Prediction, Problem, Variation, Video

__all__ = [
    "AnswerError",
    "AnswerTimeoutError",
    "AsleepError",
    "AsyncClient",
    "BusyError",
    "Client",
    "Entry",
    "Explained",
    "Health",
    "IncompleteBatchError",
    "KeyRefusedError",
    "MilesError",
    "Prediction",
    "Problem",
    "ProblemError",
    "RefusedError",
    "UnexpectedAnswerError",
    "UnreachableError",
    "Variation",
    "Video",
]
