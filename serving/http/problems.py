"""How the errors of a route are documented in OpenAPI: each status, and when it is given."""

from typing import Any

from serving.http.schemas import Health


def _documented(description: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


# The errors that a scoring route may answer with, for its documentation.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _documented("The body is not JSON."),
    401: _documented("The service has keys, and the request carries none of them (`Authorization: Bearer`)."),
    408: _documented("The body did not arrive in time."),
    413: _documented("The body is larger than the limit."),
    415: _documented("The body is compressed, or not declared as JSON."),
    422: _documented("A field is invalid, or a required modality could not be had."),
    429: _documented("This client has used up its own limit; Retry-After says when to ask again."),
    500: _documented("A fault of ours."),
    503: _documented(
        "Overloaded (`type` ends in `overloaded`), or the model is loading or failed; Retry-After says when "
        "to ask again."
    ),
    504: _documented("No answer within the deadline."),
}
NOT_READY: dict[int | str, dict[str, Any]] = {503: PROBLEMS[503]}
# Those that ask for health get it, ready or not.
UNHEALTHY: dict[int | str, dict[str, Any]] = {
    503: {"model": Health, "description": "The model is loading or failed; `status` says why."}
}
RELOAD_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: PROBLEMS[401],
    403: _documented("The service has no keys, so nobody can show one."),
    409: _documented("A model is being loaded already."),
    422: _documented("The checkpoint cannot be used; `detail` says why. What served before serves on."),
    500: PROBLEMS[500],
    503: _documented("The service is stopping."),
}
