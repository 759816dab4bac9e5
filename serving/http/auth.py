"""API keys: scoring and reloading require `Authorization: Bearer <key>` if the service has keys, else 401."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import KeyRequiredError
from serving.http.limits import needs_key
from serving.http.problems import PROBLEMS, answer_to

# Declares the scheme in OpenAPI. `ApiKeys` checks the keys, because dependencies run after the body is read.
KEY_DECLARED = Depends(
    HTTPBearer(scheme_name="ApiKey", description="Required if the service has API keys.", auto_error=False)
)
# OpenAPI: what all scoring routes share.
SCORES: dict[str, Any] = {"tags": ["scores"], "responses": PROBLEMS, "dependencies": [KEY_DECLARED]}


class ApiKeys:
    """Middleware that refuses requests without one of `keys`, where a key is needed."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        assert keys, "a service without keys needs no ApiKeys middleware"
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if needs_key(scope):
                scope["key"] = self._key_of(scope)
        except KeyRequiredError as exc:
            await answer_to(exc, scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _key_of(self, scope: Scope) -> str:
        """The start of the digest of the request's key. Raises `KeyRequiredError`."""
        credentials = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, offered = (credentials[0] if len(credentials) == 1 else b"").partition(b" ")
        if scheme.lower() != b"bearer" or not offered:
            raise KeyRequiredError("Missing API key. Send `Authorization: Bearer <key>`.")
        digest = _digest(offered.strip())
        # Compare with every key, so that the time taken reveals nothing about which one matched.
        if not sum([hmac.compare_digest(digest, known) for known in self._digests]):
            raise KeyRequiredError("Invalid API key.", invalid=True)
        return digest.hex()[:16]


def _digest(key: bytes) -> bytes:
    """A digest of fixed length, so that comparing does not reveal the length of a key."""
    return hashlib.sha256(key).digest()
