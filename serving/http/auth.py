"""Who may ask for scores, as plain ASGI: `Authorization: Bearer` and one of the operator's keys, else 401.

The same keys are asked for where the model is changed.
"""

import hashlib
import hmac
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import KeyRequiredError
from serving.http.paths import needs_key
from serving.http.problems import answer_to


class ApiKeys:
    """Of the requests that need a key, lets those pass that carry one of `keys`."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        assert keys, "without keys the door is open, and this is not in the way"
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if needs_key(scope) else None
        if refusal:
            await answer_to(refusal, scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> KeyRequiredError | None:
        credentials = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, offered = (credentials[0] if len(credentials) == 1 else b"").partition(b" ")
        if scheme.lower() != b"bearer" or not offered:
            return KeyRequiredError("Missing API key. Send it as `Authorization: Bearer <key>`.")
        digest = _digest(offered.strip())
        # Every key is compared, whole, whichever fits: the time that it takes tells nothing about them.
        if not sum([hmac.compare_digest(digest, known) for known in self._digests]):
            return KeyRequiredError("Invalid API key.", invalid=True)
        return None


def _digest(key: bytes) -> bytes:
    """Of one length for all keys, so that the comparison does not tell theirs."""
    return hashlib.sha256(key).digest()
