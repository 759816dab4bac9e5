"""What can go wrong between HTTP and the model, and the status that says so.

    MilesError
    ├── KeyRequiredError        401  the service has keys, and the request brought none of them
    ├── KeylessError            403  what was asked for is for those with a key, and the service has none
    ├── LoadRunningError        409  a model is being loaded already
    ├── CheckpointRefusedError  422  the checkpoint that was to be loaded cannot be used
    ├── ModalityRequiredError   422  the request insists on a modality that could not be had
    ├── RateLimitedError        429  this client has used up its own limit
    ├── OverloadedError         503  the queue is full, whoever asks
    ├── NotReadyError           503  the model is loading, or failed
    ├── PredictTimeoutError     504  no answer within the request's deadline
    ├── EngineFailedError       503  a forward failed, or gave something that is no score
    └── LoadFailedError         500  loading another model ended in a fault of ours

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
from starlette.types import Scope

PROBLEM_JSON = "application/problem+json"
log = structlog.get_logger()


class MilesError(Exception):
    """The root of our own errors; its text is for the client."""

    type: str = "about:blank"
    """What a program tells problems of one status apart by (RFC 9457, 3.1.1)."""
    title: str | None = None
    """The sentence for `type`; None for `about:blank`, whose title is the status's phrase."""
    retry_after_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The header fields that the answer carries."""
        return {"Retry-After": str(self.retry_after_s)} if self.retry_after_s else {}


class KeyRequiredError(MilesError):
    """The request carries no key, or none of ours; `offered` says which of the two."""

    def __init__(self, detail: str, *, offered: bool) -> None:
        super().__init__(detail)
        self.offered = offered

    @property
    def headers(self) -> dict[str, str]:
        """The challenge (RFC 6750, 3)."""
        error = ', error="invalid_token"' if self.offered else ""
        return {"WWW-Authenticate": f'Bearer realm="miles"{error}'}


class KeylessError(MilesError):
    """Nobody can show a key of a service that has none."""


class LoadRunningError(MilesError):
    """One model is loaded at a time."""

    retry_after_s = 5


class CheckpointRefusedError(MilesError):
    """The checkpoint is bad; its text is the one line that says why. What served before serves on."""

    type = "urn:miles:problem:checkpoint-refused"
    title = "Checkpoint refused"


class ModalityRequiredError(MilesError):
    """`require` names a modality that is missing or failed."""


class RateLimitedError(MilesError):
    """A client has asked for more than its share; `retry_after_s` until one more video is within it."""

    type = "urn:miles:problem:rate-limited"
    title = "Rate limit exceeded"

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class OverloadedError(MilesError):
    """As many videos wait as may wait; `retry_after_s` until they are scored, at the present rate."""

    type = "urn:miles:problem:overloaded"
    title = "Overloaded"

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class NotReadyError(MilesError):
    """The model cannot answer yet."""

    retry_after_s = 5


class PredictTimeoutError(MilesError):
    """The deadline passed before the score was there."""


class EngineFailedError(MilesError):
    """A forward raised, or returned something that is no score."""

    retry_after_s = 1


class LoadFailedError(MilesError):
    """A load ran into something that says nothing about the checkpoint. What served before serves on."""


STATUS_BY_ERROR: dict[type[MilesError], HTTPStatus] = {
    KeyRequiredError: HTTPStatus.UNAUTHORIZED,
    KeylessError: HTTPStatus.FORBIDDEN,
    LoadRunningError: HTTPStatus.CONFLICT,
    CheckpointRefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ModalityRequiredError: HTTPStatus.UNPROCESSABLE_ENTITY,
    RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    PredictTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    EngineFailedError: HTTPStatus.SERVICE_UNAVAILABLE,
    LoadFailedError: HTTPStatus.INTERNAL_SERVER_ERROR,
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
    named = {"type": error.type} | ({"title": error.title} if error.title else {})
    return problem(STATUS_BY_ERROR[type(error)], str(error), instance) | named


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


def answer_to(error: MilesError, scope: Scope) -> JSONResponse:
    """One of our errors as an HTTP answer."""
    return JSONResponse(
        problem_of(error, instance_in(scope)),
        status_code=STATUS_BY_ERROR[type(error)],
        headers=error.headers,
        media_type=PROBLEM_JSON,
    )


def instance_of(request: Request) -> str:
    """What identifies this occurrence of a problem: the request's id, which the logs carry too."""
    return instance_in(request.scope)


def instance_in(scope: Scope) -> str:
    """The same, where there is no more than ASGI's scope."""
    return f"urn:miles:request:{scope.get('request_id', 'unknown')}"


def install_error_handlers(app: FastAPI) -> None:
    """Every error of `app` leaves as a problem."""
    app.add_exception_handler(MilesError, _answer_miles_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, _answer_http_exception)


async def _answer_miles_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, MilesError), "registered for MilesError alone"
    status = STATUS_BY_ERROR[type(exc)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(exc, OverloadedError):
        log.warning("request_failed", status=int(status), error=type(exc).__name__, cause=repr(exc.__cause__))
    return answer_to(exc, request.scope)


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
