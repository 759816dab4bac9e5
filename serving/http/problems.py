"""Errors as HTTP answers: RFC 9457 problems, the status of each error, and how OpenAPI documents them."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from serving.errors import (
    CheckpointRefusedError,
    EngineFailedError,
    KeylessError,
    KeyRequiredError,
    LoadFailedError,
    LoadRunningError,
    MilesError,
    ModalityRequiredError,
    NotReadyError,
    NoYouTubeKeyError,
    OverloadedError,
    PredictTimeoutError,
    RateLimitedError,
    UnknownVideoError,
    YouTubeError,
)
from serving.http.requests import names_like

PROBLEM_JSON = "application/problem+json"
NDJSON = "application/x-ndjson"
STATUS_BY_ERROR: dict[type[MilesError], HTTPStatus] = {
    KeyRequiredError: HTTPStatus.UNAUTHORIZED,
    KeylessError: HTTPStatus.FORBIDDEN,
    NoYouTubeKeyError: HTTPStatus.FORBIDDEN,
    UnknownVideoError: HTTPStatus.NOT_FOUND,
    LoadRunningError: HTTPStatus.CONFLICT,
    CheckpointRefusedError: HTTPStatus.UNPROCESSABLE_ENTITY,
    ModalityRequiredError: HTTPStatus.UNPROCESSABLE_ENTITY,
    RateLimitedError: HTTPStatus.TOO_MANY_REQUESTS,
    OverloadedError: HTTPStatus.SERVICE_UNAVAILABLE,
    NotReadyError: HTTPStatus.SERVICE_UNAVAILABLE,
    EngineFailedError: HTTPStatus.SERVICE_UNAVAILABLE,
    PredictTimeoutError: HTTPStatus.GATEWAY_TIMEOUT,
    LoadFailedError: HTTPStatus.INTERNAL_SERVER_ERROR,
    YouTubeError: HTTPStatus.BAD_GATEWAY,
}
# `type` and `title` of errors that a program must tell from others of the same status (RFC 9457, 3.1.1);
# every other problem is `about:blank`, whose title is the status's phrase.
TYPE_BY_ERROR: dict[type[MilesError], dict[str, str]] = {
    CheckpointRefusedError: {"type": "urn:miles:problem:checkpoint-refused", "title": "Checkpoint refused"},
    NoYouTubeKeyError: {"type": "urn:miles:problem:no-youtube-key", "title": "No YouTube key"},
    RateLimitedError: {"type": "urn:miles:problem:rate-limited", "title": "Rate limit exceeded"},
    OverloadedError: {"type": "urn:miles:problem:overloaded", "title": "Overloaded"},
}
MAX_ERRORS = 32
MAX_FIELD_NAME = 200  # characters; an unknown field of `what_if` may have any name
VIDEO_EXPECTED = 'expected an object, {{"title": ...}} for a video or {{"videos": [...]}} for a batch'
MESSAGES = {
    "missing": "is required",
    "string_type": "expected text",
    "string_too_short": "is empty, expected at least {min_length} character",
    "string_too_long": "has too many characters, expected at most {max_length}",
    "list_type": "expected a list",
    "too_short": "has {actual_length} items, expected at least {min_length}",
    "too_long": "has more than {max_length} items, which is the maximum",
    "literal_error": "expected {expected}",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "dict_type": "expected an object",
    "model_type": VIDEO_EXPECTED,
    "model_attributes_type": VIDEO_EXPECTED,
    "int_type": "expected a number",
    "int_parsing": "expected a number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "extra_forbidden": "is not a field of a request",
    "json_invalid": "is not valid JSON ({error})",
}
"""Our messages by pydantic's type of error; a `refused` error has its own."""
log = structlog.get_logger()


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[dict[str, str]] | None = Field(
        None, exclude_if=lambda errors: errors is None, description="The invalid fields, if any."
    )


def problem(
    status: int, detail: str, instance: str, errors: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """An RFC 9457 problem; `instance` identifies the occurrence by its request id."""
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
    """The problem for one of our errors."""
    status = STATUS_BY_ERROR[type(error)]
    return problem(status, str(error), instance) | TYPE_BY_ERROR.get(type(error), {})


def invalid_fields(errors: Sequence[Any]) -> tuple[str, list[dict[str, str]]]:
    """Pydantic's first `MAX_ERRORS` as a problem's `detail` and its `errors`, without the rejected values."""
    fields = [
        {"field": ".".join(map(str, _path(error)))[:MAX_FIELD_NAME] or "body", "message": _message(error)}
        for error in errors[:MAX_ERRORS]
    ]
    return f"{fields[0]['field']}: {fields[0]['message']}", fields


def _message(error: Mapping[str, Any]) -> str:
    """What is expected, in our own words."""
    words = MESSAGES.get(error["type"])
    if words is None:
        return str(error["msg"]) if error["type"] == "refused" else "is not valid"
    said = words.format(**error.get("ctx", {}))
    if error["type"] == "missing" and (names := names_like(error.get("input"), str(error["loc"][-1]))):
        said += f"; {', '.join(names)} is not read, send {error['loc'][-1]}"
    return said


def _path(error: Mapping[str, Any]) -> Sequence[str | int]:
    """Where in the body the error is; malformed JSON has no fields, only a position."""
    if error["type"] == "json_invalid":
        return ()
    path: tuple[str | int, ...] = error["loc"]
    return path[1:] if path[:1] == ("body",) else path


def problem_response(
    status: int,
    detail: str,
    scope: Scope,
    errors: Sequence[Mapping[str, Any]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem as the answer to the request of `scope`."""
    body = problem(status, detail, instance_of(scope), errors)
    return JSONResponse(body, status_code=status, headers=headers, media_type=PROBLEM_JSON)


def answer_to(error: MilesError, scope: Scope, headers: Mapping[str, str] = {}) -> JSONResponse:
    """One of our errors as the answer to the request of `scope`."""
    headers = dict(headers)
    if error.retry_after_s:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, KeyRequiredError):  # the challenge of RFC 6750, 3
        invalid = ', error="invalid_token"' if error.invalid else ""
        headers["WWW-Authenticate"] = f'Bearer realm="miles"{invalid}'
    body = problem_of(error, instance_of(scope))
    return JSONResponse(body, status_code=body["status"], headers=headers, media_type=PROBLEM_JSON)


def instance_of(scope: Scope) -> str:
    """A problem's `instance`: the request's id, which is in the logs too."""
    return f"urn:miles:request:{scope.get('request_id', 'unknown')}"


def install_error_handlers(app: FastAPI, router: APIRouter) -> None:
    """Answer every error of `app` with a problem; a 404 and a 405 name routes of `router`."""
    methods = {
        route.path: " or ".join(sorted(route.methods or ()))
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    }
    app.add_exception_handler(MilesError, _answer_miles_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid_request)
    app.add_exception_handler(HTTPException, partial(_answer_http_exception, methods))


async def _answer_miles_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, MilesError), "registered for MilesError"
    status = STATUS_BY_ERROR[type(exc)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(exc, OverloadedError):
        log.warning("request_failed", status=int(status), error=type(exc).__name__, cause=repr(exc.__cause__))
    return answer_to(exc, request.scope)


async def _answer_invalid_request(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError), "registered for RequestValidationError"
    is_json = all(error["type"] != "json_invalid" for error in exc.errors())
    status = HTTPStatus.UNPROCESSABLE_ENTITY if is_json else HTTPStatus.BAD_REQUEST
    detail, errors = invalid_fields(exc.errors())
    return problem_response(status, detail, request.scope, errors)


async def _answer_http_exception(methods: Mapping[str, str], request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException), "registered for HTTPException"
    if isinstance(exc.__cause__, MilesError):  # raised while FastAPI read the body; only HTTPException passes
        return answer_to(exc.__cause__, request.scope, exc.headers or {})
    detail = str(exc.detail)
    if detail == HTTPStatus(exc.status_code).phrase:  # the router's own, which repeats the status
        detail = _route_to_use(exc.status_code, request.scope["path"], methods) or detail
    return problem_response(exc.status_code, detail, request.scope, headers=exc.headers)


def _route_to_use(status: int, path: str, methods: Mapping[str, str]) -> str | None:
    """For a 404 or a 405, the next step; `methods` has every route's."""
    if status == HTTPStatus.METHOD_NOT_ALLOWED and path in methods:
        scoring = " Videos are scored by POST /predict." if path == "/" else ""
        return f"{path} accepts {methods[path]}.{scoring}"
    if status != HTTPStatus.NOT_FOUND:
        return None
    near = get_close_matches(path[:100].rstrip("/").lower(), methods, n=1)
    routes = [f"{methods[route]} {route}" for route in near or ("/predict", "/predict/batch", "/explain")]
    return f"No such route; use {', '.join(routes)}. GET /docs lists all."


def _documented(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {PROBLEM_JSON: {"schema": schema}}}


def also_as(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI: another form of an answer with status 200."""
    return {200: {"content": {media_type: {"schema": {"type": "string", "description": description}}}}}


# OpenAPI: the errors of a scoring route.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _documented("The body is not valid JSON, or not a valid form."),
    401: _documented("Missing or invalid API key; send `Authorization: Bearer <key>`."),
    408: _documented("The request body timed out."),
    413: _documented("The request body is too large."),
    415: _documented("The body is compressed, or of a content type that the route does not take."),
    422: _documented("A field is invalid, or a required modality is unavailable."),
    429: _documented("The client has exceeded its rate limit; see Retry-After."),
    500: _documented("Internal error."),
    503: _documented(
        "At capacity (`type` ends in `overloaded`), or the model is loading or has failed; see Retry-After."
    ),
    504: _documented("No score before the deadline."),
}
BATCH = PROBLEMS | also_as(NDJSON, "A line for each video as it is ready: its index and its entry.")
NOT_READY: dict[int | str, dict[str, Any]] = {503: PROBLEMS[503]}
YOUTUBE_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: PROBLEMS[401],
    403: _documented("The service has no key for YouTube (`type` ends in `no-youtube-key`)."),
    404: _documented("YouTube has no public video with this id."),
    422: _documented("Not the id of a YouTube video."),
    429: _documented("Too many look-ups; see Retry-After."),
    502: _documented("YouTube refused, or could not be reached; `detail` says why."),
}
RELOAD_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: PROBLEMS[401],
    403: _documented("The service has no API keys, so this endpoint is disabled."),
    409: _documented("Another model is already being loaded."),
    422: _documented("The checkpoint cannot be used; `detail` says why. The current model stays in service."),
    500: PROBLEMS[500],
    503: _documented("The service is stopping."),
}
