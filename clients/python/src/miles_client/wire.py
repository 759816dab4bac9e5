"""One try: what is sent, and what an answer means. Retries are decided elsewhere."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from miles_client.errors import (
    AnswerTimeoutError,
    AsleepError,
    UnexpectedAnswerError,
    UnreachableError,
    problem_error,
)

CONNECT_TIMEOUT_S = 10
HOST_STATUSES = (502, 503, 504)  # from a host whose service is not running
JSON = "application/json"
MAX_PORT = 65_535
WAKING = "got a web page instead of scores: the Space is waking up"


def service_root(url: str) -> str:
    """The service's base URL without a route; raises `ValueError` for an invalid one."""
    root = url.strip().rstrip("/").removesuffix("/batch").removesuffix("/predict").rstrip("/")
    if host_of(root, "http://localhost:7860") == "huggingface.co":
        raise ValueError(f"{url!r} is the Space's page; the service is https://OWNER-NAME.hf.space")
    return root


def host_of(url: str, example: str) -> str:
    """The host; raises `ValueError` for anything but an http or https URL."""
    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as exc:
        raise ValueError(f"{url!r} is not a valid URL ({exc})") from exc
    if found.scheme not in ("http", "https") or not found.host or (found.port or 0) > MAX_PORT:
        raise ValueError(f"{url!r} is not an http or https URL such as {example}")
    return found.host


def headers(key: str | None) -> dict[str, str]:
    """The headers of every request; raises `ValueError` for a key that no header can carry."""
    if key and not (key.isascii() and key.isprintable()):
        raise ValueError("the key has characters that an HTTP header cannot carry: copy it again")
    found = {"Accept": JSON, "Content-Type": JSON, "User-Agent": "miles-client"}
    return found | ({"Authorization": f"Bearer {key}"} if key else {})


def http_client(carried: Mapping[str, str], timeout_s: float) -> httpx.Client:
    """A client with these headers; raises `ValueError` for a proxy or certificates that cannot be used."""
    try:
        return httpx.Client(headers=carried, timeout=limits(timeout_s))
    except (ImportError, OSError, ValueError) as exc:
        raise ValueError(f"HTTPS_PROXY, ALL_PROXY or SSL_CERT_FILE cannot be used ({exc})") from exc


def limits(timeout_s: float) -> httpx.Timeout:
    """`timeout_s` for the answer, less for the connection."""
    return httpx.Timeout(timeout_s, connect=min(CONNECT_TIMEOUT_S, timeout_s))


def encoded(payload: Any) -> bytes:
    """The payload as ASCII JSON, which can hold half a surrogate pair, too."""
    return json.dumps(payload, allow_nan=False).encode("ascii")


@contextmanager
def translated(timeout_s: float) -> Iterator[None]:
    """Turn httpx's errors into errors of this package."""
    try:
        yield
    except httpx.TimeoutException as exc:
        raise AnswerTimeoutError(f"no answer within {timeout_s:g} s") from exc
    except httpx.HTTPError as exc:
        url, reason = exc.request.url, str(exc) or type(exc).__name__
        address = url.netloc.decode() + _through_a_proxy(url)
        raise UnreachableError(f"no connection to {address} ({reason})") from exc


def _through_a_proxy(url: httpx.URL) -> str:
    found = {} if proxy_bypass(url.host) else getproxies()
    return next((f" through {kind.upper()}_PROXY" for kind in (url.scheme, "all") if kind in found), "")


def read(response: httpx.Response) -> Any:
    """The JSON of an answer with status 200; raises an `AnswerError` for any other."""
    status, body = response.status_code, json_in(response)
    if status == 200 and body is not None:
        return body
    if status >= 400 and isinstance(body, Mapping):
        raise problem_error(body, status, response.headers)
    if status == 200:
        raise AsleepError(WAKING, status, response.headers)
    if response.has_redirect_location:
        target = response.headers["Location"]
        raise UnexpectedAnswerError(f"{response.url} redirects to {target}: use that address", status)
    kind = AsleepError if status in HOST_STATUSES else UnexpectedAnswerError
    raise kind(f"status {status}", status, response.headers)


def json_in(response: httpx.Response) -> Any:
    """The answer's JSON, or None for anything else, such as a hosting provider's page."""
    if "json" not in response.headers.get("Content-Type", ""):
        return None
    try:
        return response.json()
    except ValueError:
        return None
