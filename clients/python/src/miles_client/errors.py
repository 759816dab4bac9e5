"""What can go wrong between a caller and a score.

MilesError
├── UnreachableError          nothing answered
├── AnswerTimeoutError        no answer, or no next line of a batch, in time
├── IncompleteBatchError      a stream ended early; `missing` has the videos without an entry
└── AnswerError               the answer is not a score
    ├── AsleepError           a host answered in place of the service, which is asleep or starting
    ├── UnexpectedAnswerError not an answer from Miles
    └── ProblemError          the service's problem details (RFC 9457)
        ├── RefusedError      400, 413, 415, 422: the request cannot be scored; `errors` names the fields
        ├── KeyRefusedError   401, 403
        └── BusyError         429, or a 503 of type overloaded
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any

REFUSED = (400, 413, 415, 422)
PASSING = (408, 425, 429, 502, 503, 504)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class MilesError(Exception):
    """Any error of this package; its text ends with the next step where there is one."""

    is_passing = False
    """Whether a later try may succeed."""
    retry_after_s: float | None = None
    """How long the service asks clients to wait."""


class UnreachableError(MilesError):
    """There was no connection, or it broke."""

    is_passing = True


class AnswerTimeoutError(MilesError):
    """There was no answer in time."""

    is_passing = True


class IncompleteBatchError(MilesError):
    """A stream ended before every video had an entry; `missing` has the indices of those without."""

    def __init__(self, missing: Sequence[int]) -> None:
        super().__init__(f"the stream ended before {len(missing)} videos had an answer: send them again")
        self.missing = list(missing)


class AnswerError(MilesError):
    """An answer that is not a score."""

    def __init__(self, text: str, status: int, headers: Mapping[str, str] = NO_HEADERS) -> None:
        super().__init__(text)
        self.status, self.request_id = status, headers.get("X-Request-ID")
        self.retry_after_s = retry_after_s(headers.get("Retry-After"))


class AsleepError(AnswerError):
    """A host answered in place of the service, which is asleep or starting."""

    is_passing = True


class UnexpectedAnswerError(AnswerError):
    """Not an answer from Miles; the address is probably another service's."""


class ProblemError(AnswerError):
    """The service's problem details; `detail` says what is wrong and what to do."""

    next_step = ""

    def __init__(
        self, problem: Mapping[str, Any], status: int, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        self.type = str(problem.get("type") or "about:blank")
        self.title = str(problem.get("title") or "")
        self.detail = str(problem.get("detail") or problem.get("message") or self.title)
        self.errors: list[dict[str, str]] = list(problem.get("errors") or ())
        detail = self.detail.removesuffix(".") if self.next_step else self.detail
        text = (f"{status}: {detail}" if detail else f"status {status}") + self.next_step
        super().__init__(text, status, headers)
        self.is_passing = status in PASSING


class RefusedError(ProblemError):
    """The request cannot be scored as it is."""


class KeyRefusedError(ProblemError):
    """The service requires an API key, or does not know this one."""

    next_step = "; set api_key (for a command, MILES_API_KEY) to one of the service's keys"


class BusyError(ProblemError):
    """The service is overloaded, or this client has exceeded its rate limit."""


def problem_error(
    problem: Mapping[str, Any], status: int, headers: Mapping[str, str] = NO_HEADERS
) -> ProblemError:
    """The problem as an error of the matching class."""
    kind = ProblemError
    if status in REFUSED:
        kind = RefusedError
    elif status in (401, 403):
        kind = KeyRefusedError
    elif status == 429 or "overloaded" in str(problem.get("type")):
        kind = BusyError
    return kind(problem, status, headers)


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a Retry-After header (seconds or a date) asks for; None for anything else."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
