"""Which paths score, and so are subject to limits and deadlines, and which need an API key.

Health, metrics, the page and the documentation have no limits, so an overloaded service can be inspected.
"""

from starlette.types import Scope

PREDICT = "/predict"
PREDICT_BATCH = "/predict/batch"
RELOAD = "/admin/reload"
EXPLAIN = "/explain"
SCORING = frozenset({PREDICT, PREDICT_BATCH, EXPLAIN})


def is_scoring(scope: Scope) -> bool:
    """Whether the request asks for scores."""
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in SCORING


def needs_key(scope: Scope) -> bool:
    """Whether the request needs an API key, if the service has keys."""
    return is_scoring(scope) or (scope["type"] == "http" and scope["path"] == RELOAD)
