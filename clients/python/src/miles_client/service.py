"""Scores videos in batches, each with a score, a refusal or no answer yet, and decides how long to wait."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from miles_client.errors import (
    REFUSED,
    AnswerError,
    AsleepError,
    BusyError,
    MilesError,
    problem_error,
)
from miles_client.settings import WAITS_S, SettingError, setting, shown
from miles_client.wire import encoded, headers, http_client, read, service_root, translated

HOLD_S = 60  # the longest that rows stay locked while they are scored one by one
TRIES = 3  # for a row that gets no answer while others do
NO_SUCH_ROUTE = (404, 405, 501)
Row = dict[str, Any]


class Unavailable(MilesError):  # noqa: N818  a temporary state
    """The service returned no score, for a call or for one of its videos; a retry may help.

    `retry_after_s` comes from the response; `suspect` means that the request itself may be the cause.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None, *, suspect: bool = True) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.suspect = suspect


class Patience:
    """Waits between retries: 5, 15, 30, 60, 60, ... s, or what Retry-After asks for."""

    def __init__(self, total_s: float, waits_s: Sequence[float] = WAITS_S) -> None:
        self.total_s, self.waits_s = total_s, waits_s
        self.reset()

    def reset(self) -> None:
        """Start over: the service answered."""
        self._tries, self._since = 0, time.monotonic()

    def wait_s(self, trouble: MilesError) -> float:
        """Seconds until the next try; raises `trouble` when the total would exceed the limit."""
        if self._tries == 0:
            self._since = time.monotonic()
        planned = self.waits_s[min(self._tries, len(self.waits_s) - 1)]
        wait = planned if not trouble.retry_after_s else max(trouble.retry_after_s, min(1.0, planned))
        self._tries += 1
        if time.monotonic() - self._since + wait > self.total_s:
            raise trouble
        return wait


NO_IMAGE = (None, "no_thumbnail", "no_image_tower")  # reasons that are not a failure of the image


@dataclass(frozen=True)
class Score:
    """A video's score; `answer` is the whole response."""

    viral_score: float
    predicted_velocity: float
    answer: Mapping[str, Any] = field(repr=False, default_factory=dict)
    request_id: str = ""

    @property
    def unusable_image(self) -> str | None:
        """Why the thumbnail was not usable, such as `http_404`; None if it was, or if there is none."""
        reason = ((self.answer.get("modalities") or {}).get("image") or {}).get("reason")
        return None if reason in NO_IMAGE else str(reason)


@dataclass(frozen=True)
class Refusal:
    """The service or the database rejects this row."""

    reason: str


Outcome = Score | Refusal | Unavailable


class Service:
    """A client of a running Miles; uses the batch route where there is one."""

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 60) -> None:
        with setting("INFERENCE_API_URL"):
            self.url = service_root(url)
        with setting("MILES_API_KEY"):
            carried = headers(key)
        with setting("the environment"):
            self._http = http_client(carried, timeout_s)
        self._timeout_s = timeout_s
        self._has_batch = True
        self._request_id = ""
        self.with_shadow = False  # whether to wait for the shadow's score, if the service has a shadow
        self._singly = 0
        """How many of the next videos to send one by one, to find the one that breaks its batch."""

    def score(self, videos: Sequence[Row]) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome) for `videos`; stops early after `HOLD_S`.

        Raises `Unavailable` when the service does not answer, `SettingError` when a retry cannot help.
        """
        if len(videos) == 1 or self._singly > 0 or not self._has_batch:
            yield from self._one_by_one(videos)
            return
        try:
            body = self._post("/predict/batch", {"videos": list(videos)})
        except Unavailable as exc:
            self._singly = len(videos) if exc.suspect else 0
            raise
        except AnswerError as exc:  # the batch was refused as a whole; single videos may still be accepted
            self._has_batch = exc.status not in NO_SUCH_ROUTE
            yield from self._one_by_one(videos)
            return
        entries = body.get("predictions") if isinstance(body, dict) else None
        if not isinstance(entries, list) or len(entries) != len(videos):
            received = len(entries) if isinstance(entries, list) else "no list"
            raise SettingError(
                f"{self.url}/predict/batch: expected {len(videos)} predictions, got {received}"
            )
        yield from enumerate(self._outcome(entry) for entry in entries)

    def ask_singly(self, count: int) -> None:
        """Send the next `count` videos one by one: one of them may have made the others fail."""
        self._singly = count

    def _one_by_one(self, videos: Sequence[Row]) -> Iterator[tuple[int, Outcome]]:
        until = time.monotonic() + HOLD_S
        for index, video in enumerate(videos):
            self._singly -= 1
            try:
                yield index, self._outcome(self._post("/predict", video))
            except Unavailable as exc:
                if exc.suspect:
                    yield index, exc
                raise
            except AnswerError as exc:
                if exc.status in NO_SUCH_ROUTE:
                    raise SettingError(
                        f"{self.url}/predict: {exc.status}, not a Miles service; see INFERENCE_API_URL"
                    ) from exc
                yield index, Refusal(shown(exc, 300))
            if time.monotonic() > until:
                return

    def _post(self, route: str, payload: Any) -> Any:
        """The answer's JSON. Raises `AnswerError` for an answer that a retry would not change."""
        try:
            with translated(self._timeout_s):
                query = "?shadow=1" if self.with_shadow else ""
                response = self._http.post(self.url + route + query, content=encoded(payload))
            self._request_id = response.headers.get("X-Request-ID", "")
            return read(response)
        except AnswerError as exc:
            self._judge(exc, route)
            raise
        except MilesError as exc:
            raise Unavailable(str(exc)) from exc

    def _judge(self, exc: AnswerError, route: str) -> None:
        """Raise what concerns the whole run; return for an answer that concerns only these videos."""
        status, reason = exc.status, shown(exc, 300)
        if 300 <= status < 400:
            raise SettingError(f"{reason} as INFERENCE_API_URL") from exc
        if status in (401, 403):
            raise SettingError(f"{self.url}{route}: {reason}") from exc
        if status in (*REFUSED, *NO_SUCH_ROUTE):
            return
        if exc.is_passing or status >= 500:
            waking = isinstance(exc, AsleepError) and status == 503
            suspect = not waking and not isinstance(exc, BusyError)
            raise Unavailable(reason, exc.retry_after_s, suspect=suspect) from exc
        raise SettingError(f"{self.url}{route}: {reason}; is INFERENCE_API_URL a Miles service?") from exc

    def _outcome(self, entry: Any) -> Outcome:
        """The outcome of one video's entry; raises `SettingError` unless it holds valid scores."""
        error = entry.get("error") if isinstance(entry, dict) else None
        if isinstance(error, dict):
            status = error.get("status")
            problem = problem_error(error, status if isinstance(status, int) else 500)
            reason = shown(problem, 300)
            if problem.status in REFUSED:
                return Refusal(reason)
            return Unavailable(reason, suspect=not isinstance(problem, BusyError))
        said: Any = entry if isinstance(entry, dict) else {}
        score, velocity = said.get("viral_score"), said.get("predicted_velocity")
        if not (_is_number(score) and 0 <= score <= 1 and _is_number(velocity) and velocity >= 0):
            raise SettingError(
                f"{self.url}: viral_score {score!r}, predicted_velocity {velocity!r}: not valid Miles scores"
            )
        return Score(float(score), float(velocity), said, self._request_id)


def opened_service(known: Mapping[str, str], timeout_s: float) -> Service:
    """The configured service."""
    if "INFERENCE_API_URL" not in known:
        raise SettingError(
            "set INFERENCE_API_URL to the service's URL, for example https://owner-miles.hf.space"
        )
    return Service(known["INFERENCE_API_URL"], known.get("MILES_API_KEY"), timeout_s)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
