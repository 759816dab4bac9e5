"""What can go wrong between HTTP and the model, and the status that says so.

    MilesError
    ├── ModalityRequiredError   422  the request insists on a modality that could not be had
    ├── NotReadyError           503  the model is loading, or failed to load
    ├── PredictTimeoutError     504  no answer within the request's deadline
    └── EngineFailedError       503  a forward failed, or gave something that is no score

Every error leaves as an RFC 9457 problem: a new status belongs in `STATUS_BY_ERROR`, nowhere else.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

PROBLEM_JSON = "application/problem+json"
log = structlog.get_logger()


class MilesError(Exception):
    """The root of our own errors; its text is for the client."""

    retry_after_s: int | None = None


class ModalityRequiredError(MilesError):
    """`require` names a modality that is missing or failed."""


class NotReadyError(MilesError):
    """The model cannot answer yet."""

    retry_after_s = 5


class PredictTimeoutError(MilesError):
    """The deadline passed before the score was there."""


class EngineFailedError(MilesError):
    """A forward raised, or returned something that is no score."""

    retry_after_s = 1


STATUS_BY_ERROR: dict[type[MilesError], HTTPStatus] = {
    ModalityRequiredError: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    PredictTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    EngineFailedError: HTTPStatus.SERVICE_UNAVAILABLE,
}


def problem(
    status: int, detail: str, instance: str, errors: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """An RFC 9457 problem; `instance` names the occurrence, a request id."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "instance": instance,
    }
    if errors is not None:
        body["errors"] = list(errors)
    return body


def problem_of(error: MilesError, instance: str) -> dict[str, Any]:
    """The problem that one of our errors becomes."""
    return problem(STATUS_BY_ERROR[type(error)], str(error), instance)


def field_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Pydantic's errors as `{"field", "message"}`; the input is not repeated, it may be anything."""
    return [
        {
            "field": ".".join(str(part) for part in _path(error)) or "body",
            "message": str(error["msg"]),
        }
        for error in errors
    ]


def _path(error: Mapping[str, Any]) -> Sequence[str | int]:
    """Where in the body the error is; broken JSON has no fields, only a position."""
    if error["type"] == "json_invalid":
        return ()
    path: tuple[str | int, ...] = error["loc"]
    return path[1:] if path[:1] == ("body",) else path


def problem_response(
    status: int,
    detail: str,
    instance: str,
    errors: Sequence[Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem as an HTTP answer."""
    body = problem(status, detail, instance, errors)
    return JSONResponse(body, status_code=status, headers=headers, media_type=PROBLEM_JSON)


def instance_of(request: Request) -> str:
    """What identifies this occurrence of a problem: the request's id, which the logs carry too."""
    return f"urn:miles:request:{request.scope.get('request_id', 'unknown')}"


def install_error_handlers(app: FastAPI) -> None:
    """Every error of `app` leaves as a problem."""
    app.add_exception_handler(MilesError, _answer_miles_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_http_exception)


async def _answer_miles_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, MilesError), "registered for MilesError alone"
    status = STATUS_BY_ERROR[type(exc)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request_failed", status=int(status), error=type(exc).__name__, cause=repr(exc.__cause__))
    headers = {"Retry-After": str(exc.retry_after_s)} if exc.retry_after_s else None
    return problem_response(status, str(exc), instance_of(request), headers=headers)


async def _answer_invalid_request(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError), "registered for RequestValidationError alone"
    errors = field_errors(exc.errors())
    detail = f"{errors[0]['field']}: {errors[0]['message']}"
    is_json = all(error["type"] != "json_invalid" for error in exc.errors())
    status = HTTPStatus.UNPROCESSABLE_ENTITY if is_json else HTTPStatus.BAD_REQUEST
    return problem_response(status, detail, instance_of(request), errors)


async def _answer_http_exception(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException), "registered for HTTPException alone"
    return problem_response(exc.status_code, str(exc.detail), instance_of(request), headers=exc.headers)
