#!/usr/bin/env python3
"""Scores the rows of `candidates` that have no score yet; the scraper runs it after each scrape.

    python trigger_inference.py                     at most 50 rows
    python trigger_inference.py --dry-run           score and print without writing
    python trigger_inference.py --watch             repeat every minute until stopped
    python trigger_inference.py --rescore-after 24  also rows scored a day ago whose counts have changed
    python trigger_inference.py --table public.videos --column id=video_id --column miles_score=score

A single file, so that it can be copied next to a scraper; `pip install miles-client` installs it as
miles-score-table. It needs httpx, and psycopg 3 for DATABASE_URL. Settings come from the environment or
from a `.env` file, here or next to this file:

    INFERENCE_API_URL       the service, with or without /predict
    DATABASE_URL            PostgreSQL; a pooler in transaction mode (Supabase's, PgBouncer) works
    SUPABASE_URL, SUPABASE_SERVICE_KEY      the alternative: PostgREST over HTTPS
    MILES_API_KEY           sent as a bearer token, if the service requires one

With DATABASE_URL the rows of one call stay locked until their scores are committed (FOR UPDATE SKIP LOCKED),
so concurrent runs never score a row twice, and a run that dies leaves its rows unchanged. PostgREST has no
locks: a score is written only where `analyzed_at` is still null, so each row is *written* once and a crash
loses nothing, but two concurrent runs may both request a score for the same row.

A row that can't be scored keeps its nulls and is reported with the reason. It doesn't count towards --limit,
so it never blocks the rows behind it. A row whose score the database does not accept (row-level security, a
trigger) is tried once in a run and reported.

With the tables of clients/database/loop.sql it also keeps every score with what it was based on (predictions)
and the counts that were scored (snapshots), and sends a video's previous look with the next request.
--rescore-after needs DATABASE_URL and these tables.

Exit codes: 0 all rows found were scored; 1 some rows were skipped (see the output); 2 invalid setting; 3 the
service did not answer; 4 the database did not answer or did not accept scores; 130 and 143 stopped by SIGINT
or SIGTERM after writing the scores received so far.
"""


# Written by `python -m deploy.single_files` from the modules in clients/python: edit those.

import argparse
import base64
import io
import json
import math
import os
import re
import shutil
import signal
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, TextIO
from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass

try:
    import httpx
except ModuleNotFoundError:
    sys.exit("this needs httpx: pip install httpx")

# miles_client.errors


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


# miles_client.settings


DONE, ROWS_LEFT, WRONG_SETTING, NO_SERVICE, NO_DATABASE = range(5)
WAITS_S = (5.0, 15.0, 30.0, 60.0)  # a sleeping Space is up within one or two minutes


class SettingError(Exception):
    """A setting is wrong, here or on a server; the message says what to change."""


@contextmanager
def setting(name: str) -> Iterator[None]:
    """Turn a `ValueError` in the block into a `SettingError` that names the setting."""
    try:
        yield
    except ValueError as exc:
        raise SettingError(f"{name}: {exc}") from exc


def settings(environment: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """The environment, then the first of the .env `files` that exists; empty values count as absent.

    Raises `SettingError` for a file that cannot be read.
    """
    found = {name: value.strip() for name, value in environment.items() if value.strip()}
    for path in files:
        if path.is_file():
            try:
                return read_env(path.read_text(encoding="utf-8-sig")) | found
            except UnicodeDecodeError as exc:
                raise SettingError(f"{path}: not UTF-8 ({exc.reason}); save it as UTF-8") from exc
            except OSError as exc:
                raise SettingError(f"{path}: {exc.strerror}") from exc
    return found


def read_env(text: str) -> dict[str, str]:
    """Parse NAME=value lines, with or without `export` and quotes; `#` begins a comment."""
    values = {}
    for line in text.splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        value = value.strip()
        if not separator or name.startswith("#"):
            continue
        if value[:1] in ("'", '"') and value[0] in value[1:]:
            value = value[1 : value.index(value[0], 1)]
        else:
            value = value.partition(" #")[0].strip()
        if value:
            values[name.strip()] = value
    return values


def positive(kind: type[int] | type[float]) -> Callable[[str], Any]:
    """Reads an argument that must be above 0."""

    def parse(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError(text)
        return value

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def seconds(text: str) -> list[float]:
    """Reads an argument of several durations, separated by commas."""
    return [positive(float)(part) for part in text.split(",")]


def shown(text: Any, length: int = 60) -> str:
    """Anything as one short line without control characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in str("" if text is None else text))
    return line if len(line) <= length else line[: length - 1] + "…"


# miles_client.wire


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


# miles_client.service


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


# miles_client.stop


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived while nothing was being written."""


class StopSignals:
    """Makes SIGINT and SIGTERM stop the run between two writes; a second signal stops it at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._waiting = False
        self._wake = threading.Event()

    def install(self) -> None:
        """Register the handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, signal.SIG_DFL)
        if self._waiting:
            raise Stopped

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal may end with `Stopped`."""
        self._waiting = True
        try:
            if self.number:
                raise Stopped
            yield
        finally:
            self._waiting = False

    def sleep(self, seconds: float) -> None:
        """Wait, or raise `Stopped`."""
        with self.interruptible():
            self._wake.wait(seconds)


# miles_client.names


NUMBERS = (
    *("view_count", "like_count", "comment_count", "share_count", "save_count"),
    *("previous_view_count", "duration_seconds", "duration", "completion_rate", "creator_avg_views"),
)
TIMES = ("published_at", "upload_date", "observed_at", "scraped_at", "previous_observed_at")
TEXTS = ("title", "description", "thumbnail_url", "thumbnail")
REQUEST_FIELDS = (*TEXTS[:3], *NUMBERS, *TIMES, *TEXTS[3:])
# Pairs of fields; the service reads the second as another name for the first.
SAME = (
    *(("thumbnail_url", "thumbnail"), ("duration_seconds", "duration")),
    *(("published_at", "upload_date"), ("observed_at", "scraped_at")),
)
# Other names of fields, without punctuation and in lower case: they are suggested, never assumed.
NEAR = {
    **dict.fromkeys(("views", "viewcount", "plays", "playcount", "viewscount", "numviews"), "view_count"),
    **dict.fromkeys(("likes", "likecount", "diggcount", "numlikes"), "like_count"),
    **dict.fromkeys(("comments", "commentcount", "numcomments"), "comment_count"),
    **dict.fromkeys(("shares", "sharecount"), "share_count"),
    **dict.fromkeys(("saves", "savecount", "collectcount"), "save_count"),
    **dict.fromkeys(("headline", "videotitle", "name"), "title"),
    **dict.fromkeys(("desc", "caption"), "description"),
    **dict.fromkeys(("thumbnailurl", "thumb", "thumbnails", "cover"), "thumbnail_url"),
    **dict.fromkeys(("durationsec", "durationseconds", "lengthseconds", "length"), "duration_seconds"),
    **dict.fromkeys(("publishedat", "publishtime", "publishdate", "uploaddate", "timestamp"), "published_at"),
    **dict.fromkeys(("observedat", "scrapedat", "crawledat"), "observed_at"),
    **dict.fromkeys(("previousviewcount", "previousviews", "prevviewcount"), "previous_view_count"),
    **dict.fromkeys(("previousobservedat", "previousscrapedat"), "previous_observed_at"),
}
# Texts that programs write for a missing value.
NULLS = ("n/a", "na", "#n/a", "<na>", "nan", "nat", "null", "none", "-", "--", "\\n")
BARE = {field.replace("_", ""): field for field in REQUEST_FIELDS} | NEAR


def is_unknown(field: str, value: Any) -> bool:
    """Whether a value means unknown: null or, for numbers and times, one of `NULLS`."""
    if field in TEXTS or not isinstance(value, str):
        return value is None
    return value.strip().lower() in NULLS


def field_like(column: str) -> str | None:
    """The field whose name resembles this column's."""
    return BARE.get(re.sub(r"[\W_]", "", column.lower()))


def with_other_names(fields: Iterable[str]) -> set[str]:
    """The fields and their other names."""
    found = set(fields)
    return found.union(*(pair for pair in SAME if found & {*pair}))


def near(columns: Iterable[str], found: Mapping[str, str]) -> dict[str, str]:
    """Columns that look like fields that are not read yet, by field; `found` has the columns that are."""
    looks = {field_like(name): name for name in columns}
    read = with_other_names(found)
    return {
        field: name
        for field, name in looks.items()
        if field and field not in read and name not in found.values()
    }


# miles_client.table.store


FIELDS = (
    *("title", "description", "thumbnail_url", "view_count", "like_count", "comment_count"),
    *("duration_seconds", "upload_date"),
)
COLUMNS = ("id", *FIELDS, "scraped_at", "created_at", "analyzed_at", "miles_score", "predicted_velocity")
PREVIOUS = ("previous_view_count", "previous_observed_at")
EXPECTED = "the table in clients/database/schema.sql; use --table and --column for other names"
KEPT = "the database keeps it unscored: row-level security or a trigger?"
# The next step after SQLSTATEs that have one.
NEXT_STEPS = {"57014": "; add the index in clients/database/schema.sql, or raise statement_timeout"}
# Classes of SQLSTATE that concern the connection, the table or the server. All others concern a row:
# its values, its constraints, and whatever its triggers raise.
NOT_OF_ROW = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0", "HV", "XX")


class DatabaseError(Exception):
    """The database cannot be used; the message says why."""


class DatabaseLost(DatabaseError):  # noqa: N818  a temporary state
    """The database did not answer; a retry may help, after `retry_after_s` if it says so."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def is_of_row(sqlstate: str | None, text: str) -> bool:
    """Whether a write failed because of its row; otherwise every row would fail."""
    code = sqlstate or ""
    is_policys = code == "42501" and "row-level security" in text
    return is_policys or (len(code) == 5 and code[:2] not in NOT_OF_ROW)


@dataclass(frozen=True)
class Names:
    """The table and its columns, where they differ from clients/database/schema.sql."""

    table: str = "candidates"
    columns: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """The table's name for one of `COLUMNS`."""
        return self.columns.get(name, name)

    def rows(self, found: Sequence[Row]) -> list[Row]:
        """Rows keyed by the names in `COLUMNS`, with ids as text whatever their type.

        Raises `DatabaseError` if a required column is missing, or if an id is null or the same in two rows.
        """
        if found:
            self._check(found[0])
        rows = [{name: row.get(self.column(name)) for name in COLUMNS} for row in found]
        ids = [row["id"] for row in rows]
        if None in ids or len(set(ids)) < len(ids):
            raise self.ambiguous("is null in a row" if None in ids else "is the same in two rows")
        return [row | {"id": str(row["id"])} for row in rows]

    def ambiguous(self, what: str) -> DatabaseError:
        """The error for an id column that does not identify each row."""
        return DatabaseError(
            f"{self.table}.{self.column('id')} {what}; add --column id=COLUMN with one that is unique"
        )

    def lacking(self, found: Collection[str]) -> list[str]:
        """The fields of a request for which the table has no column."""
        return [name for name in FIELDS if self.column(name) not in found]

    def beside(self, name: str) -> str:
        """Another table in the same schema."""
        schema, dot, _ = self.table.rpartition(".")
        return f"{schema}{dot}{name}"

    def _check(self, found: Collection[str]) -> None:
        wrong = [column for column in self.columns.values() if column and column not in found]
        if wrong:
            raise DatabaseError(f"{self.table} has no column {wrong[0]}; expected {EXPECTED}")
        lacking = self.lacking(found)
        looks = near(found, {name: self.column(name) for name in COLUMNS if self.column(name) in found})
        if "title" in lacking:
            option = f"--column title={looks.get('title', 'COLUMN')}"
            raise DatabaseError(f"{self.table} has no column title; add {option}")
        if "view_count" in lacking and "view_count" in looks and "view_count" not in self.columns:
            option = f"--column view_count={looks['view_count']}, or --column view_count= to score without"
            raise DatabaseError(f"{self.table} has no column view_count; add {option}")


@dataclass(frozen=True)
class Claim:
    """Rows to score, and a function that writes their scores: {id: score} -> {id: outcome}."""

    rows: list[Row]
    lacking: list[str]
    """The fields of a request for which the table has no column."""
    write: Callable[[Mapping[str, Score]], dict[str, Outcome | None]]
    """None where nothing was updated, a `Refusal` where the database rejects the score.

    Rows that were not reached because the database went away are missing.
    """


def video_of(row: Row) -> Row:
    """The request for a row, without unknown values; its counts date from `scraped_at`, else `created_at`."""
    video = {name: row[name] for name in (*FIELDS, *PREVIOUS) if not is_unknown(name, row.get(name))}
    seen = row.get("scraped_at") or row.get("created_at")
    return video | ({"scraped_at": seen} if seen else {})


# miles_client.table.kept


# How much older than a look its previous look may be, as in the training data.
LOOKS_APART = (timedelta(hours=6), timedelta(hours=96))
# The service refuses a look that was taken longer than this before the video was published.
MAX_BEFORE_PUBLICATION = timedelta(days=1)
EPOCH = re.compile(r"\d{10}(\d{3})?(?:\.\d*)?")
COUNTS = ("view_count", "like_count", "comment_count")
SNAPSHOT = ("candidate_id", "taken_at", *COUNTS)
PREDICTION = (
    *("id", "candidate_id", "observed_at", *COUNTS, "model_version", "viral_score", "predicted_velocity"),
    *("velocity_low", "velocity_high", "known", "image", "warnings", "request_id", "shadow_of"),
)


def time_in(value: Any) -> datetime | None:
    """A column's time in UTC: ISO 8601, or Unix seconds or milliseconds; None for anything else."""
    text = str(value)
    try:
        if epoch := EPOCH.fullmatch(text):
            return datetime.fromtimestamp(float(text) / (1000 if epoch[1] else 1), UTC)
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def look_time(row: Row) -> datetime | None:
    """When the row's counts were read; None if the row does not say, or not as a time."""
    return time_in(row.get("scraped_at") or row.get("created_at"))


def with_previous_looks(rows: list[Row], looks_of: Callable[[list[str], str, str], list[Row]]) -> list[Row]:
    """The rows with their previous looks; `looks_of` gives the snapshots of ids between two times."""
    found_times = ((row["id"], look_time(row)) for row in rows)
    times = {name: moment for name, moment in found_times if moment and 1 < moment.year < MAXYEAR}
    if not times:
        return rows
    published = {row["id"]: time_in(row.get("upload_date")) for row in rows}
    nearest, farthest = LOOKS_APART
    since, until = min(times.values()) - farthest, max(times.values()) - nearest
    previous: dict[str, Row] = {}
    found = looks_of(list(times), since.astimezone(UTC).isoformat(), until.astimezone(UTC).isoformat())
    for look in sorted(found, key=lambda look: datetime.fromisoformat(look["taken_at"])):
        name, taken_at = look["candidate_id"], datetime.fromisoformat(look["taken_at"])
        begun = published[name]
        is_of_video = begun is None or begun - taken_at <= MAX_BEFORE_PUBLICATION
        if is_of_video and nearest <= times[name] - taken_at <= farthest and look["view_count"] >= 0:
            values = (look["view_count"], look["taken_at"])
            previous[name] = dict(zip(PREVIOUS, values, strict=True))
    return [row | previous.get(row["id"], {}) for row in rows]


def whole(count: Any) -> int | None:
    """A count from a numeric column, or in digits; None for anything else, which `snapshots` cannot hold."""
    if isinstance(count, str):
        try:
            count = float(count.replace(",", ""))
        except ValueError:
            return None
    return int(count) if isinstance(count, int | float) and count == count // 1 else None


def snapshot_of(row: Row) -> Row:
    """The counts that were scored, as a row of `snapshots`."""
    taken_at = look_time(row) or datetime.now(UTC)
    counts = {name: whole(row.get(name)) for name in COUNTS}
    return {"candidate_id": row["id"], "taken_at": taken_at.isoformat(), **counts}


def predictions_of(row: Row, score: Score) -> list[Row]:
    """A score as a row of `predictions`, and another row for the shadow's score if there is one.

    The same counts of the same video and the same model give the same id, so nothing is kept twice. A row
    that does not say when its counts were read gets the time of the run, which is not part of the id.
    """
    snapshot, answer = snapshot_of(row), score.answer
    modalities = answer.get("modalities") or {}
    image, imputed = modalities.get("image") or {}, (modalities.get("scalars") or {}).get("imputed") or []
    own = {"upload_date": "published_at", "scraped_at": "observed_at"}
    known = sorted({own.get(name, name) for name in video_of(row)} - set(imputed))
    kept: list[Row] = []
    for scored in filter(None, (answer, answer.get("shadow"))):
        interval = scored.get("velocity_interval") or {}
        version = scored.get("model_version") or "unknown"
        look = [*(snapshot | {"taken_at": look_time(row) and snapshot["taken_at"]}).values(), version]
        kept.append(
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(look))),
                "candidate_id": row["id"],
                "observed_at": snapshot["taken_at"],
                **{name: snapshot[name] for name in COUNTS},
                "model_version": version,
                "viral_score": scored["viral_score"],
                "predicted_velocity": scored["predicted_velocity"],
                "velocity_low": interval.get("low"),
                "velocity_high": interval.get("high"),
                "known": known,
                "image": ": ".join(filter(None, (image.get("state"), image.get("reason")))) or None,
                "warnings": answer.get("warnings") or [],
                "request_id": score.request_id,
                "shadow_of": kept[0]["id"] if kept else None,
            }
        )
    return kept


# miles_client.table.postgres


# Options of other drivers in an address.
FOREIGN = re.compile(r"(?<=[?&])(?:pgbouncer|connection_limit|pool_timeout|schema|supa)=[^&]*&?")


class Postgres:
    """Rows through psycopg, locked while they are scored.

    Nothing outlives a transaction (no prepared statements, session settings or session locks), so a pooler in
    transaction mode works. Rows arrive as JSON built by PostgreSQL: a date or number that Python cannot hold
    is then rejected by the service for that row only, and does not fail the whole query.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        *,
        read_only: bool,
        names: Names,
        rescore_after_h: float | None = None,
    ) -> None:
        self._url = without_foreign_options(url)
        self._idle_ms = int((timeout_s + 2 * HOLD_S) * 1000)
        self._read_only, self._names, self._rescore_after_h = read_only, names, rescore_after_h
        self._open: Any = None
        self._id_type = ""
        self._keeps: bool | None = None
        try:
            import psycopg
            from psycopg import sql
        except ImportError as exc:
            raise SettingError('DATABASE_URL needs psycopg 3: pip install "psycopg[binary]"') from exc
        self._psycopg, self._sql = psycopg, sql

    def keeps(self) -> bool:
        """Whether the tables of clients/database/loop.sql exist."""
        if self._keeps is None:
            with self._connection() as connection:
                names = [self._quoted(connection, name) for name in ("snapshots", "predictions")]
                found = connection.execute(  # a table of that name may be another program's
                    "SELECT count(*) FROM unnest(%s::text[]) name JOIN pg_attribute "
                    "ON attrelid = to_regclass(name) AND attname = 'candidate_id' AND NOT attisdropped",
                    [names],
                ).fetchone()
            self._keeps = found == (2,)
        return self._keeps

    def pending(self) -> int:
        """The number of rows to score."""
        with self._connection() as connection:
            found = connection.execute(self._statement("SELECT count(*) FROM {table} c WHERE {due}"), [])
            return int(found.fetchone()[0])

    @contextmanager
    def claim(self, count: int, skip: set[str]) -> Iterator[Claim]:
        """Rows that no other run holds; committed when the block ends, released when it fails."""
        with self._connection() as connection, connection.transaction():
            # A constraint that is checked at the commit would fail the whole batch.
            only = "TRANSACTION READ ONLY" if self._read_only else "CONSTRAINTS ALL IMMEDIATE"
            connection.execute(f"SET {only}")
            # A machine that loses power holds its rows no longer than this.
            connection.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [str(self._idle_ms)]
            )
            lock = "" if self._read_only else "FOR UPDATE SKIP LOCKED"
            rows, lacking = self._due(connection, count, skip, lock)
            if rows and self._keeps:
                rows = with_previous_looks(rows, lambda *asked: self._looks(connection, *asked))
            each = {row["id"]: row for row in rows}
            yield Claim(rows, lacking, lambda scores: self._write(connection, each, scores))

    def kept(self, count: int, skip: set[str]) -> list[Row]:
        """Rows that row-level security lets this role read but not lock."""
        kept = []
        with self._connection() as connection, connection.transaction():
            for row in self._due(connection, count, skip, "")[0]:
                try:
                    with connection.transaction():
                        statement = "SELECT 1 FROM {table} c WHERE {id} = %s::{id_type} FOR UPDATE NOWAIT"
                        locked = connection.execute(self._statement(statement), [row["id"]]).fetchone()
                except self._psycopg.errors.LockNotAvailable:
                    continue  # another run has it
                if locked is None:
                    kept.append(row)
        return kept

    def unscored(self, rows: Sequence[Row]) -> set[str]:
        """The ids of rows whose `analyzed_at` is unchanged."""
        statement = (
            "SELECT {id}::text, to_jsonb({analyzed_at}) FROM {table} c WHERE {id} = ANY(%s::{id_type}[])"
        )
        with self._connection() as connection:
            found = connection.execute(self._statement(statement), [[row["id"] for row in rows]])
            now = dict(found.fetchall())
        return {row["id"] for row in rows if row["id"] in now and now[row["id"]] == row["analyzed_at"]}

    def _due(self, connection: Any, count: int, skip: set[str], lock: str) -> tuple[list[Row], list[str]]:
        """Rows, and the fields for which the table has no column."""
        if not self._id_type:
            self._id_type = self._type_of_id(connection)
        statement = (
            "SELECT to_jsonb(c) || jsonb_build_object({id_name}, {id}::text) FROM {table} c "
            "WHERE {due} AND ({id} <> ALL(%s::{id_type}[]) OR {id} IS NULL) "
            "ORDER BY {created_at} NULLS LAST, {id} LIMIT %s "
        )
        found = connection.execute(self._statement(statement + lock), [sorted(skip), count])
        due = [row for (row,) in found]
        rows = self._names.rows(due)
        twice = "SELECT 1 FROM {table} c WHERE {id} = ANY(%s::{id_type}[]) GROUP BY {id} HAVING count(*) > 1"
        if rows and connection.execute(self._statement(twice), [[row["id"] for row in rows]]).fetchone():
            raise self._names.ambiguous("is the same in two rows")
        return rows, self._names.lacking(due[0]) if due else []

    def _looks(self, connection: Any, ids: list[str], since: str, until: str) -> list[Row]:
        found = connection.execute(
            self._sql.SQL(
                "SELECT to_jsonb(s) FROM {} s WHERE candidate_id = ANY(%s) AND view_count IS NOT NULL "
                "AND taken_at BETWEEN %s AND %s"
            ).format(self._table("snapshots")),
            [ids, since, until],
        )
        return [look for (look,) in found]

    def _table(self, beside: str = "") -> Any:
        """The table, or another one in its schema, for a statement."""
        return self._identifier(*self._parts(beside))

    def _quoted(self, connection: Any, beside: str = "") -> str:
        """The same, quoted, as a value."""
        return str(self._sql.Identifier(*self._parts(beside)).as_string(connection))

    def _parts(self, beside: str) -> list[str]:
        return (self._names.beside(beside) if beside else self._names.table).split(".")

    def _identifier(self, *names: str) -> Any:
        return self._sql.Identifier(*(name.replace("%", "%%") for name in names))  # % is a placeholder

    def _type_of_id(self, connection: Any) -> str:
        table = self._quoted(connection)
        found = connection.execute(
            "SELECT format_type(atttypid, -1) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attname = %s",
            [table, self._names.column("id")],
        ).fetchone()
        if found is None:
            column = self._names.column("id")
            raise DatabaseError(f"{self._names.table} has no column {column}; add --column id=COLUMN")
        return str(found[0])

    def _statement(self, text: str) -> Any:
        """Fill in the table, its columns (`new_` to set one), the id's type and which rows are due."""
        sql = self._sql
        names = {name: self._names.column(name) for name in COLUMNS}
        columns = {name: self._identifier("c", column) for name, column in names.items()}
        columns |= {f"new_{name}": self._identifier(column) for name, column in names.items()}
        due = "{analyzed_at} IS NULL"
        if self._rescore_after_h is not None:
            due = (
                "({analyzed_at} IS NULL OR {analyzed_at} < now() - make_interval(secs => {age}) AND EXISTS ("
                "SELECT 1 FROM {snapshots} s WHERE s.candidate_id = {id}::text AND s.kept_at > {analyzed_at} "
                "AND ROW(s.view_count, s.like_count, s.comment_count) IS DISTINCT FROM (SELECT "
                "ROW(b.view_count, b.like_count, b.comment_count) FROM {snapshots} b "
                "WHERE b.candidate_id = {id}::text "
                "AND b.kept_at <= {analyzed_at} ORDER BY b.kept_at DESC LIMIT 1)))"
            )
        age = sql.Literal(3600 * (self._rescore_after_h or 0))
        return sql.SQL(text).format(
            table=self._table(),
            id_type=sql.SQL(self._id_type),
            id_name=sql.Literal(names["id"].replace("%", "%%")),
            due=sql.SQL(due).format(age=age, snapshots=self._table("snapshots"), **columns),
            **columns,
        )

    def _write(
        self, connection: Any, rows: Mapping[str, Row], scores: Mapping[str, Score]
    ) -> dict[str, Outcome | None]:
        try:
            with connection.transaction():
                written = self._update(connection, rows, scores)
                if self._keeps:
                    self._keep(connection, [(rows[name], scores[name]) for name in written if written[name]])
                return written
        except self._psycopg.Error as exc:
            if not is_of_row(exc.sqlstate, str(exc)):
                raise
            if len(scores) == 1:
                return dict.fromkeys(scores, Refusal(f"the database rejects it: {first_line(exc)}"))
        each = [self._write(connection, rows, {row: score}) for row, score in scores.items()]
        return {row: outcome for one in each for row, outcome in one.items()}

    def _keep(self, connection: Any, scored: Sequence[tuple[Row, Score]]) -> None:
        """Keep the predictions and the counts, in the transaction that writes the scores."""
        predictions = [kept for row, score in scored for kept in predictions_of(row, score)]
        snapshots = [snapshot_of(row) for row, _ in scored]
        for name, columns, kept in (
            ("predictions", PREDICTION, predictions),
            ("snapshots", SNAPSHOT, snapshots),
        ):
            # `kept_at` is when the row was scored, so these counts are not a change since then.
            time = "kept_at" if name == "snapshots" else "predicted_at"
            statement = self._sql.SQL(
                "INSERT INTO {table} ({columns}, {time}) SELECT {columns}, now() "
                "FROM jsonb_populate_recordset(NULL::{table}, %s) ON CONFLICT DO NOTHING"
            ).format(
                table=self._table(name),
                columns=self._sql.SQL(", ").join(map(self._sql.Identifier, columns)),
                time=self._sql.Identifier(time),
            )
            connection.execute(statement, [json.dumps(kept)])

    def _update(
        self, connection: Any, rows: Mapping[str, Row], scores: Mapping[str, Score]
    ) -> dict[str, Outcome | None]:
        """A row in which a trigger restores the old `analyzed_at` is still due and not counted as scored."""
        statement = (
            "UPDATE {table} c SET {new_miles_score} = s.score, {new_predicted_velocity} = s.velocity, "
            "{new_analyzed_at} = now() FROM unnest(%s::{id_type}[], %s::float8[], %s::float8[]) "
            "AS s(id, score, velocity) WHERE {id} = s.id RETURNING {id}::text, to_jsonb({analyzed_at})"
        )
        found = connection.execute(
            self._statement(statement),
            [
                list(scores),
                [score.viral_score for score in scores.values()],
                [score.predicted_velocity for score in scores.values()],
            ],
        )
        written = {row for row, time in found if time != rows[row]["analyzed_at"]}
        return {row: score if row in written else None for row, score in scores.items()}

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """The open connection, or a new one after an error."""
        try:
            if self._open is None:
                self._open = self._connect()
            yield self._open
        except self._psycopg.Error as exc:
            if self._open is not None:
                self._open.close()
                self._open = None
            raise self._translated(exc) from exc

    def _translated(self, exc: Any) -> DatabaseError:
        errors, said = self._psycopg.errors, first_line(exc)
        passing = (self._psycopg.OperationalError, self._psycopg.InterfaceError)
        if isinstance(exc, errors.UndefinedTable | errors.UndefinedColumn):
            return DatabaseError(f"{said}; expected {EXPECTED}")
        # libpq gives these no code of their own, and retrying cannot help.
        lasting = ("authentication failed", "no password supplied", "does not exist", "Servname")
        is_lasting = any(words in said for words in lasting)
        if isinstance(exc, (*passing, errors.IdleInTransactionSessionTimeout)) and not is_lasting:
            return DatabaseLost(f"DATABASE_URL: {said}{NEXT_STEPS.get(exc.sqlstate or '', '')}")
        return DatabaseError(f"DATABASE_URL: {said}")

    def _connect(self) -> Any:
        wanted: dict[str, Any] = {
            "connect_timeout": "15",
            "client_encoding": "UTF8",  # a database without an encoding would send bytes
            "application_name": "miles",
            "keepalives_idle": "30",
        }
        try:
            given = self._psycopg.conninfo.conninfo_to_dict(self._url)
        except self._psycopg.ProgrammingError as exc:  # its text may hold the password
            raise SettingError(
                "DATABASE_URL: not a PostgreSQL URL such as postgresql://user@host/db?sslmode=require; "
                "remove options that libpq lacks, and percent-encode special characters in the password"
            ) from exc
        return self._psycopg.connect(**(wanted | given), autocommit=True, prepare_threshold=None)


def without_foreign_options(url: str) -> str:
    """`url` in libpq's form, without SQLAlchemy's driver and the options of Prisma and Vercel."""
    if "://" not in url:  # libpq's other form, host=... dbname=...
        return url.strip()
    return FOREIGN.sub("", re.sub(r"^(\w+)\+\w+:", r"\1:", url.strip())).rstrip("?&")


def first_line(exc: Exception) -> str:
    """An error's first line, or its type."""
    return shown(str(exc).strip().partition("\n")[0], 300) or type(exc).__name__


# miles_client.table.postgrest


# Codes for a missing table or column.
LACKING = ("42P01", "42703", "PGRST106", "PGRST204", "PGRST205")
# Classes of SQLSTATE that are not an outage, although their status is 500.
LASTING = ("0A", "25", "42", "55")
PARAMETERS = ("select", "order", "limit", "offset", "and", "or", "columns", "on_conflict")


class PostgREST:
    """Rows over Supabase's HTTP API, without locks: see the command's help."""

    def __init__(self, url: str, key: str, timeout_s: float, names: Names) -> None:
        root = url.strip().rstrip("/").removesuffix("/rest/v1")
        with setting("SUPABASE_URL"):
            if host_of(root, "https://abcd.supabase.co") in ("supabase.com", "app.supabase.com"):
                raise ValueError(f"{url!r} is the dashboard; the project's URL is https://abcd.supabase.co")
        if key.startswith("sb_publishable_") or role_of(key) == "anon":
            raise SettingError(
                "SUPABASE_SERVICE_KEY: this is the public key, which cannot read rows; use the secret key"
            )
        schema, _, table = names.table.rpartition(".")
        self._root, self._table, self._names = f"{root}/rest/v1", table, names
        self._keeps: bool | None = None
        with setting("SUPABASE_SERVICE_KEY"):
            carried = headers(key)
        if not role_of(key):  # keys of the new kind (sb_secret_...) are rejected as bearer tokens
            del carried["Authorization"]
        with setting("the environment"):
            self._http = http_client(carried | {"apikey": key}, timeout_s)
        self._id, self._analyzed_at = field(names.column("id")), field(names.column("analyzed_at"))
        if schema:
            self._http.headers.update({"Accept-Profile": schema, "Content-Profile": schema})

    def keeps(self) -> bool:
        """Whether the tables of clients/database/loop.sql exist."""
        if self._keeps is None:
            tables = ("snapshots", "predictions")
            own = {"select": "candidate_id", "limit": "1"}  # a table of that name may be another program's
            found = [self._ask("GET", own, table=name, may_lack=True) for name in tables]
            self._keeps = all(
                answer.is_success and all("candidate_id" in row for row in rows_in(answer))
                for answer in found
            )
        return self._keeps

    def pending(self) -> int:
        """The number of rows without a score."""
        only = {"select": self._id, self._analyzed_at: "is.null", "limit": "1"}
        answer = self._ask("GET", only, prefer="count=exact")
        total = answer.headers.get("Content-Range", "").rpartition("/")[2]
        return int(total) if total.isdecimal() else 0

    @contextmanager
    def claim(self, count: int, skip: set[str]) -> Iterator[Claim]:
        """The oldest rows that are not in `skip`, without a lock."""
        size = count + min(len(skip), 200)  # a long list of ids does not fit into a URL
        order = f"{field(self._names.column('created_at'))}.asc.nullslast,{self._id}.asc"
        rows: list[Row] = []
        lacking: list[str] = []
        position = 0
        while not rows:
            only = {self._analyzed_at: "is.null", "order": order, "limit": str(size), "offset": str(position)}
            found = rows_in(self._ask("GET", only))
            if not found:
                break
            page, lacking = self._names.rows(found), self._names.lacking(found[0])
            rows = [row for row in page if row["id"] not in skip][:count]
            position += len(page)
        if rows and self._keeps:
            rows = with_previous_looks(rows, self._looks)
        each = {row["id"]: row for row in rows}
        yield Claim(rows, lacking, lambda scores: self._write(each, scores))

    def _looks(self, ids: list[str], since: str, until: str) -> list[Row]:
        found = []
        for first in range(0, len(ids), 50):  # a longer list of ids may not fit into a URL
            only = {
                "candidate_id": f"in.({quoted(ids[first : first + 50])})",
                "view_count": "not.is.null",
                "and": f'(taken_at.gte."{since}",taken_at.lte."{until}")',
            }
            found += self._all(only | {"order": "taken_at,candidate_id"}, table="snapshots")
        return found

    def _all(self, only: Row, table: str = "") -> list[Row]:
        """The rows of every page: a server returns at most `db-max-rows` at once, 1000 on Supabase."""
        found: list[Row] = []
        while rows := rows_in(self._ask("GET", only | {"offset": str(len(found))}, table=table)):
            found += rows
        return found

    def kept(self, count: int, skip: set[str]) -> list[Row]:  # noqa: ARG002
        """Always empty: without locks, a row is found to be kept only when its score is written."""
        return []

    def unscored(self, rows: Sequence[Row]) -> set[str]:
        """The ids of rows whose `analyzed_at` is still null."""
        found: set[str] = set()
        for first in range(0, len(rows), 50):  # a longer list of ids may not fit into a URL
            ids = {row["id"] for row in rows[first : first + 50]}
            only = {self._id: f"in.({quoted(ids)})", self._analyzed_at: "is.null", "select": self._id}
            found |= ids & {
                str(name) for row in self._all(only | {"order": self._id}) for name in row.values()
            }
        return found

    def _write(self, rows: Mapping[str, Row], scores: Mapping[str, Score]) -> dict[str, Outcome | None]:
        """Write the predictions first: if the run dies before the score, the next run finds them."""
        written: dict[str, Outcome | None] = {}
        for name, score in scores.items():
            try:
                kept = self._keep(rows[name], score) if self._keeps else score
                written[name] = self._write_one(name, kept) if isinstance(kept, Score) else kept
            except DatabaseLost:
                if not written:
                    raise
                break
        return written

    def _keep(self, row: Row, score: Score) -> Score | Refusal:
        """Keep the prediction and the counts; returns the kept score, perhaps of an earlier run that died."""
        kept = predictions_of(row, score)
        added = self._add("predictions", kept)
        if isinstance(added, Refusal):
            return added
        served = kept[0]
        if served["id"] not in {each["id"] for each in added}:
            found = rows_in(self._ask("GET", {"id": f"eq.{served['id']}"}, table="predictions"))
            served = found[0] if found else served
        refused = self._add("snapshots", [snapshot_of(row) | {"taken_at": served["observed_at"]}])
        if isinstance(refused, Refusal):
            return refused
        return Score(served["viral_score"], served["predicted_velocity"], score.answer, score.request_id)

    def _add(self, table: str, rows: list[Row]) -> list[Row] | Refusal:
        """Insert rows that are not there yet; returns the inserted ones."""
        prefer = "resolution=ignore-duplicates,return=representation"
        return self._changed("POST", {}, rows, table=table, prefer=prefer)

    def _write_one(self, row: str, score: Score) -> Outcome | None:
        values = {
            self._names.column("miles_score"): score.viral_score,
            self._names.column("predicted_velocity"): score.predicted_velocity,
            self._names.column("analyzed_at"): datetime.now(UTC).isoformat(),
        }
        both = f"{self._id},analyzed_at:{self._analyzed_at}"
        only = {self._id: f"eq.{row}", self._analyzed_at: "is.null", "select": both}
        changed = self._changed("PATCH", only, values, prefer="return=representation")
        if isinstance(changed, Refusal):
            return changed
        if len(changed) > 1:
            raise self._names.ambiguous("is the same in two rows")
        return score if changed and changed[0].get("analyzed_at", True) else None  # a trigger may reset it

    def _changed(self, *words: Any, **options: Any) -> list[Row] | Refusal:
        """The rows that a request has written, or why the database rejects them."""
        answer = self._ask(*words, **options, may_refuse=True)
        if answer.status_code >= 400:
            return Refusal(f"the database rejects it: {reason_of(answer)}")
        return rows_in(answer)

    def _ask(
        self,
        method: str,
        only: Row,
        values: Row | list[Row] | None = None,
        *,
        table: str = "",
        prefer: str = "",
        may_refuse: bool = False,
        may_lack: bool = False,
    ) -> httpx.Response:
        url = f"{self._root}/{quote(table or self._table, safe='')}"
        try:
            answer = self._http.request(
                method,
                url,
                params=only,
                json=values,
                headers={"Prefer": prefer} if prefer else {},
            )
        except httpx.HTTPError as exc:
            raise DatabaseLost(f"SUPABASE_URL: no connection ({type(exc).__name__})") from exc
        status, code, reason = answer.status_code, code_of(answer), reason_of(answer)
        if (may_refuse and is_of_row(code, reason)) or (may_lack and code in LACKING):
            return answer
        if status in (401, 403):
            raise SettingError(f"SUPABASE_SERVICE_KEY: {reason}")
        if status == 429 or (status >= 500 and code[:2] not in LASTING):
            reason += NEXT_STEPS.get(code, "")
            raise DatabaseLost(f"SUPABASE_URL: {reason}", retry_after_s(answer.headers.get("Retry-After")))
        if answer.has_redirect_location:
            target = answer.headers["Location"]
            raise DatabaseError(f"SUPABASE_URL: {url} redirects to {target}: use that address")
        if status >= 300:
            expected = f"; expected {EXPECTED}" if status == 404 or code in LACKING else ""
            raise DatabaseError(f"{url}: {reason}{expected}")
        return answer


def rows_in(answer: httpx.Response) -> list[Row]:
    """The rows of an answer; raises `DatabaseError` for anything else, such as another server's page."""
    rows = json_in(answer)
    if not isinstance(rows, list):
        raise DatabaseError(
            f"SUPABASE_URL: {answer.request.url.host} answered {answer.status_code} without rows; "
            "expected a Supabase project's address"
        )
    return rows


def reason_of(answer: httpx.Response) -> str:
    """The database's own words, or the status."""
    body = json_in(answer)
    said = body.get("message") or body.get("detail") if isinstance(body, dict) else None
    return shown(f"{answer.status_code}: {said}" if said else f"status {answer.status_code}", 300)


def code_of(answer: httpx.Response) -> str:
    """The SQLSTATE of a refusal, or PostgREST's own code."""
    body = json_in(answer)
    return str(body.get("code")) if isinstance(body, dict) else ""


def quoted(names: Sequence[str] | set[str]) -> str:
    """Ids or a column, quoted for PostgREST."""
    return ",".join('"{}"'.format(re.sub(r'(["\\])', r"\\\1", name)) for name in names)


def field(column: str) -> str:
    """A column's name, quoted if it has special characters or is a parameter of PostgREST."""
    is_plain = re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", column) and column not in PARAMETERS
    return column if is_plain else quoted([column])


def role_of(key: str) -> str | None:
    """The role in a JWT, which is not verified; None for anything else."""
    try:
        payload = key.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["role"])
    except (IndexError, ValueError, KeyError, TypeError):
        return None


# miles_client.terminal


CLEAR = "\r\x1b[K"
WIDTH, MIN_WIDTH = 30, 5


def prepare_output() -> None:
    """Replace closed streams with the null device, and escape characters that a stream's encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  for the whole run
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def give_up_output() -> None:
    """Drop output that could not be written: the interpreter would try again at exit, and fail."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def can_redraw(stream: TextIO) -> bool:
    """Whether a line of this stream can be redrawn."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def bar(done: int, total: int, text: str) -> str:
    """A bar before `text` that replaces the current line; no wider than the terminal."""
    columns = shutil.get_terminal_size().columns - 1
    width = min(WIDTH, columns - len(text) - 3)
    filled = width * done // max(total, 1)
    drawn = f"[{'#' * filled}{'.' * (width - filled)}] " if width >= MIN_WIDTH else ""
    return CLEAR + (drawn + text)[:columns]


# miles_client.table.report


class Report:
    """The output: a progress bar on a terminal, one line per row elsewhere."""

    def __init__(self, verb: str = "scored") -> None:
        self._verb, self._is_terminal = verb, can_redraw(sys.stdout)
        self._total = self._done = 0
        self._said: dict[str, str] = {}

    def start(self, total: int) -> None:
        """A run of at most `total` rows begins."""
        self._total, self._done = total, 0
        self._draw()

    def scored(self, row: Row, score: Score) -> None:
        """A row has its score."""
        self._done += 1
        if not self._is_terminal:
            figures = f"{score.viral_score:.6f}  {score.predicted_velocity:12.2f} views/day"
            image = f"  [thumbnail: {score.unusable_image}]" if score.unusable_image else ""
            self.line(f"{self._verb}  {shown(row['id'])}  {figures}  {shown(row.get('title'))}{image}")
        self._draw()

    def left(self, row: Row, reason: str) -> None:
        """A row was skipped; printed once per reason, even with --watch."""
        if self._said.get(row["id"]) != reason:
            self._said[row["id"]] = reason
            self.line(f"skipped {shown(row['id'])}  {reason}  {shown(row.get('title'))}")
        self._draw()

    def note(self, sentence: str) -> None:
        """A line about the run as a whole."""
        self.line(sentence)
        self._draw()

    def once(self, sentence: str) -> None:
        """A note that is printed once, even with --watch."""
        if sentence not in self._said:
            self._said[sentence] = ""
            self.note(sentence)

    def line(self, text: str) -> None:
        """A line without the bar after it, such as the summary."""
        print((CLEAR if self._is_terminal else "") + text, flush=True)

    def _draw(self) -> None:
        if self._is_terminal and self._total:
            print(bar(self._done, self._total, f"{self._done}/{self._total}"), end="", flush=True)


# miles_client.table.run


Store = Postgres | PostgREST


@dataclass
class Run:
    """Scores at most `limit` rows: claim, score, write, report."""

    store: Store
    service: Service
    patience: Patience
    stop: StopSignals
    report: Report
    limit: int
    batch: int
    dry_run: bool
    kept_before: frozenset[str] = frozenset()
    """Rows whose scores the database did not accept in earlier rounds of --watch."""

    def __post_init__(self) -> None:
        self.scored = 0
        self.elsewhere: set[str] = set()  # rows that another run has scored or removed meanwhile
        self.left: dict[str, str] = {}  # skipped rows, with the reason
        self.kept: set[str] = set()  # rows whose scores the database does not accept
        self.warned = 0  # rows scored with warnings
        self.images = Counter[str]()  # rows scored without a usable thumbnail, by reason
        self._later: set[str] = set()  # rows without an answer, retried after all others
        self._tries: dict[str, int] = {}
        self._dry: set[str] = set()  # rows that a dry run has scored
        self._found = False

    def until_done(self) -> int:
        """Run to the end and return the exit code; raises what ends the run early."""
        self.service.with_shadow = self._retried(self.store.keeps) and not self.dry_run
        self.report.start(min(self.limit, self._retried(self.store.pending)))
        while not self._is_full() and self.stop.number is None:
            trouble = self._retried(self._next_rows)
            if trouble is not None:
                wait = self.patience.wait_s(trouble)
                self.report.note(f"waiting {wait:.0f} s for the service: {trouble}")
                self.stop.sleep(wait)
            elif not self._found and not self._later:
                if not self.dry_run:
                    self._keep(self._retried(lambda: self.store.kept(self.limit, self._skipped())))
                break
            elif not self._found:
                self.service.ask_singly(len(self._later))
                self._later.clear()
        if self.kept:
            return NO_DATABASE
        return ROWS_LEFT if self.left else DONE

    def _is_full(self) -> bool:
        """Whether the limit is reached: by scored rows or, if there are none, by rows kept unscored."""
        return self.scored >= self.limit or (not self.scored and len(self.kept) >= self.limit)

    def _skipped(self) -> set[str]:
        tried = self._later | self._dry | self.kept | self.elsewhere
        return tried | self.kept_before | self.left.keys()

    def summary(self) -> str:
        """A one-line summary."""
        verb = "would be scored" if self.dry_run else "scored"
        parts = [f"{self.scored} {verb}", f"{len(self.left)} skipped"]
        if self._later:
            parts.append(f"{len(self._later)} without an answer")
        if self.elsewhere:
            parts.append(f"{len(self.elsewhere)} scored by another run or removed")
        if self.kept:
            parts.append(f"{len(self.kept)} kept unscored by the database")
        if self.warned:
            parts.append(f"{self.warned} with warnings")
        if self.images:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.images.most_common(10))
            parts.append(f"{self.images.total()} without a usable thumbnail ({reasons})")
        return ", ".join(parts)

    def _retried(self, work: Callable[[], Any]) -> Any:
        """Run `work`, retrying while the database does not answer."""
        for wait in (*self.patience.waits_s[:3], None):
            try:
                return work()
            except DatabaseLost as exc:
                asked = exc.retry_after_s or 0
                if wait is None or asked > self.patience.total_s:
                    raise
                wait = max(wait, asked)
                self.report.note(f"waiting {wait:.0f} s for the database: {exc}")
                self.stop.sleep(wait)
        return None

    def _next_rows(self) -> Unavailable | None:
        """Score one call's worth of rows; returns why the service did not answer, if so."""
        size = min(self.batch, self.limit - self.scored)
        with self.store.claim(size, self._skipped()) as claim:
            outcomes, trouble = self._ask(claim.rows)
            scores = {row: outcome for row, outcome in outcomes.items() if isinstance(outcome, Score)}
            written = dict(scores) if self.dry_run else claim.write(scores) if scores else {}
        for name in scores.keys() - written.keys():
            del outcomes[name]  # still unscored, so the next claim finds it
        self._found = bool(claim.rows)
        if claim.lacking:
            self.report.once(f"no column for {', '.join(claim.lacking)}: unknown (--column NAME=COLUMN)")
        for row in claim.rows:  # reported only after the commit
            if row["id"] in outcomes:
                self._settle(row, written[row["id"]] if row["id"] in scores else outcomes[row["id"]])
        self._keep([row for row in claim.rows if row["id"] in written and not written[row["id"]]])
        if written:
            self.patience.reset()
        return trouble

    def _keep(self, rows: Sequence[Row]) -> None:
        """Check rows that were not updated: another run scored them, or the database keeps them unscored."""
        unscored = self._retried(lambda: self.store.unscored(rows)) if rows else set()
        self.elsewhere |= {row["id"] for row in rows} - unscored
        for row in rows:
            if row["id"] in unscored:
                self.kept.add(row["id"])
                self.report.left(row, KEPT)

    def _ask(self, rows: Sequence[Row]) -> tuple[dict[str, Outcome], Unavailable | None]:
        outcomes: dict[str, Outcome] = {}
        trouble = None
        try:
            with self.stop.interruptible():
                for index, outcome in self.service.score([video_of(row) for row in rows]) if rows else ():
                    outcomes[rows[index]["id"]] = outcome
        except Unavailable as exc:
            trouble = exc
        except Stopped:
            pass  # what arrived is written; `until_done` sees the signal
        lost = [outcome for outcome in outcomes.values() if isinstance(outcome, Unavailable)]
        if trouble is None and lost and len(lost) == len(outcomes):
            trouble = lost[0]
        return outcomes, trouble

    def _settle(self, row: Row, outcome: Outcome | None) -> None:
        name = row["id"]
        match outcome:
            case None:
                self._later.discard(name)  # `_keep` looks at it again
            case Score():
                self.scored += 1
                self.warned += bool(outcome.answer.get("warnings"))
                self.images.update([outcome.unusable_image] if outcome.unusable_image else [])
                self._dry |= {name} if self.dry_run else set()
                self._later.discard(name)
                self.report.scored(row, outcome)
            case Refusal(reason):
                self._give_up(row, reason)
            case Unavailable(suspect=True):
                self._later.add(name)
                self._tries[name] = self._tries.get(name, 0) + 1
                # Until something has been scored, the cause is the service and not the row.
                if self._tries[name] >= TRIES and self.scored:
                    self._give_up(row, f"no answer in {TRIES} tries; {outcome}")

    def _give_up(self, row: Row, reason: str) -> None:
        self._later.discard(row["id"])
        self.left[row["id"]] = reason
        self.report.left(row, reason)


# miles_client.table.__main__


def opened_store(known: Mapping[str, str], options: argparse.Namespace) -> Store:
    """The configured database; DATABASE_URL first, because it has locks."""
    names = Names(options.table, dict(options.column))
    if "DATABASE_URL" in known:
        return Postgres(
            known["DATABASE_URL"],
            options.timeout,
            read_only=options.dry_run,
            names=names,
            rescore_after_h=options.rescore_after,
        )
    if "SUPABASE_URL" in known and "SUPABASE_SERVICE_KEY" in known:
        if options.rescore_after is not None:
            raise SettingError(
                "--rescore-after needs DATABASE_URL: PostgREST cannot compare rows with snapshots"
            )
        return PostgREST(known["SUPABASE_URL"], known["SUPABASE_SERVICE_KEY"], options.timeout, names)
    raise SettingError("set DATABASE_URL, or SUPABASE_URL and SUPABASE_SERVICE_KEY, here or in .env")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--limit", type=positive(int), default=50, help="maximum number of rows (default: 50)"
    )
    parser.add_argument("--dry-run", action="store_true", help="score and print without writing")
    parser.add_argument(
        "--table", default="candidates", help="the table, or SCHEMA.TABLE (default: candidates)"
    )
    parser.add_argument(
        "--column",
        type=_column,
        action="append",
        default=[],
        metavar="NAME=COLUMN",
        help=f"the table's name for a column, or none; may be repeated; NAME is one of {', '.join(COLUMNS)}",
    )
    parser.add_argument(
        "--rescore-after",
        type=positive(float),
        metavar="HOURS",
        help="also score rows again whose score is older than this, if their counts have changed since",
    )
    parser.add_argument(
        "--watch",
        type=positive(float),
        nargs="?",
        const=60.0,
        metavar="S",
        help="repeat every S seconds (without a value: 60)",
    )
    parser.add_argument(
        "--batch", type=positive(int), default=16, help="rows per call, at most 256 (default: 16)"
    )
    parser.add_argument(
        "--timeout", type=positive(float), default=60.0, help="timeout of a call in seconds (default: 60)"
    )
    parser.add_argument(
        "--patience",
        type=positive(float),
        default=300.0,
        help="how long to wait for a sleeping service, in seconds (default: 300)",
    )
    parser.add_argument(
        "--waits",
        type=seconds,
        default=list(WAITS_S),
        help="seconds between tries (default: 5,15,30,60)",
    )
    return parser


def _column(text: str) -> tuple[str, str]:
    name, is_given, column = text.partition("=")
    if name not in COLUMNS or not is_given or (not column and name not in FIELDS):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected NAME=COLUMN with a NAME of {', '.join(COLUMNS)}"
        )
    return name, column


def run_once(run: Run) -> int:
    """Run once, print the summary and return the exit code."""
    begun = time.monotonic()
    try:
        return run.until_done()
    except Stopped:
        return DONE
    except Unavailable as exc:
        run.report.note(f"gave up on {run.service.url}: {exc}")
        return NO_SERVICE
    except DatabaseError as exc:
        run.report.note(f"gave up: {exc}")
        return NO_DATABASE
    finally:
        run.report.line(f"{run.summary()}; {time.monotonic() - begun:.1f} s")


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    prepare_output()
    options = arguments().parse_args(words)
    stop, report = StopSignals(), Report("would" if options.dry_run else "scored")
    stop.install()
    try:
        known = settings(os.environ, [Path.cwd() / ".env", Path(sys.argv[0]).parent / ".env"])
        store = opened_store(known, options)
        service = opened_service(known, options.timeout)
        kept: frozenset[str] = frozenset()
        while True:
            patience = Patience(options.patience, options.waits)
            run = Run(
                store,
                service,
                patience,
                stop,
                report,
                options.limit,
                min(options.batch, 256),
                options.dry_run,
                kept,
            )
            code = run_once(run)
            kept |= run.kept
            if options.watch and stop.number is None:
                with suppress(Stopped):  # the exit code says it
                    stop.sleep(options.watch)
            if stop.number is not None:
                return 128 + stop.number
            if not options.watch:
                return code
    except SettingError as exc:
        print(f"trigger_inference: {exc}", file=sys.stderr)
        return WRONG_SETTING
    except OSError as exc:  # stdout cannot be written; everything reported so far is committed
        if not isinstance(exc, BrokenPipeError):
            print(f"trigger_inference: its output cannot be written: {exc.strerror}", file=sys.stderr)
        return ROWS_LEFT
    finally:
        give_up_output()


if __name__ == "__main__":
    sys.exit(main())
