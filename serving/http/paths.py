"""Which requests ask for scores: those that limits and deadlines are for, and keys among few others.

Health, metrics, the page and the documentation pass all of them, so that a full house can still be looked at.
"""

from starlette.types import Scope

PREDICT = "/predict"
PREDICT_BATCH = "/predict/batch"
RELOAD = "/admin/reload"
EXPLAIN = "/explain"
SCORING = frozenset({PREDICT, PREDICT_BATCH, EXPLAIN})


def is_scoring(scope: Scope) -> bool:
    """Whether a request is to be scored."""
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in SCORING


def needs_key(scope: Scope) -> bool:
    """Whether a request is for those alone who have a key, where there are keys."""
    return is_scoring(scope) or (scope["type"] == "http" and scope["path"] == RELOAD)
