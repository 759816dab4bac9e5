"""Which requests ask for scores: those that keys, limits and deadlines are for.

Health, metrics, the page and the documentation pass all of them, so that a full house can still be looked at.
"""

from starlette.types import Scope

PREDICT = "/predict"
PREDICT_BATCH = "/predict/batch"
EXPLAIN = "/explain"
SCORING = frozenset({PREDICT, PREDICT_BATCH, EXPLAIN})


def is_scoring(scope: Scope) -> bool:
    """Whether a request is to be scored."""
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in SCORING
