#!/usr/bin/env python3
"""Scores a CSV, JSON Lines or Parquet file through a running Miles, one row of results for each row.

    python score_csv.py videos.csv                       writes videos.scored.csv
    python score_csv.py videos.jsonl.gz                  also .csv.gz, .ndjson, .jsonl
    python score_csv.py videos.parquet scored.parquet    needs pyarrow
    python score_csv.py export.csv --map title=Headline --map view_count=Plays --thumbnails none
    python score_csv.py export.csv --dry-run             shows what would be sent, and sends nothing

Columns are matched by the names of a request's fields (title, description, thumbnail_url, view_count, ...);
use `--map` for other names. The first line of output says which columns are read. A CSV's delimiter is found
in its header. N/A, null and - mean unknown in numbers and times; `--suffixes` reads 1.2K.

The output has all rows and columns of the input in the same order, plus viral_score, predicted_velocity, low
and high (the interval around it), confidence, in_range (false: unlike the training data), image (used,
missing or failed), image_reason (such as http_404), warnings, model_version and error (why a row has no
score).

Finished rows are kept in `OUTPUT.part`. After an interruption, run the same command again: it continues where
it stopped and scores no row twice. Neither file is ever held in memory.

A single file, so that it can be copied; `pip install miles-client` installs it as miles-score-file. It
needs httpx. INFERENCE_API_URL (or --url) and MILES_API_KEY come from the environment or `.env`.

Exit codes: 0 all rows scored; 1 some rows have an error instead; 2 invalid setting or file; 3 the service did
not answer, run it again later; 130 and 143 stopped by SIGINT or SIGTERM, run it again to continue.
"""


# Written by `python -m deploy.single_files` from the modules in clients/python: edit those.

import argparse
import codecs
import csv
import dataclasses
import gzip
import hashlib
import io
import itertools
import json
import math
import os
import re
import shlex
import shutil
import signal
import sys
import threading
import time
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import IO, Any, Self, TextIO
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


# miles_client.files.results


# The new columns and their types in a Parquet file.
RESULTS: dict[str, type] = {
    **dict.fromkeys(("viral_score", "predicted_velocity", "low", "high", "confidence"), float),
    "in_range": bool,
    **dict.fromkeys(("image", "image_reason", "warnings", "model_version", "error"), str),
}


def typed(cell: str, kind: type) -> float | bool | str | None:
    if not cell:
        return None
    return cell == "true" if kind is bool else kind(cell)


def image_of(outcome: Score | Refusal) -> Mapping[str, Any]:
    """What became of a row's thumbnail: `state` and `reason`."""
    answer = outcome.answer if isinstance(outcome, Score) else {}
    return (answer.get("modalities") or {}).get("image") or {}


def result_of(outcome: Score | Refusal) -> list[str]:
    """The result cells of a row, in the order of `RESULTS`."""
    if isinstance(outcome, Refusal):
        return [*[""] * (len(RESULTS) - 1), outcome.reason]
    said = outcome.answer
    interval = said.get("velocity_interval") or {}
    values: dict[str, Any] = {
        "viral_score": outcome.viral_score,
        "predicted_velocity": outcome.predicted_velocity,
        "low": interval.get("low"),
        "high": interval.get("high"),
        "image": image_of(outcome).get("state"),
        "image_reason": image_of(outcome).get("reason"),
        "in_range": {True: "true", False: "false"}.get(said.get("in_range")),  # type: ignore[arg-type]
        "warnings": " | ".join(map(str, said.get("warnings") or ())),
        "error": "",
    }
    cells = [values.get(name, said.get(name)) for name in RESULTS]
    return ["" if cell is None else str(cell) for cell in cells]


def closing(results: Iterator[list[str]], unknown: Counter[str]) -> tuple[str, int]:
    """The counts of rows with warnings, outside the training data, without a thumbnail, and with each error.

    Also the number of errors. `unknown` counts the texts that were read as unknown.
    """
    counts, errors, images = Counter[str](), Counter[str](), Counter[str]()
    for result in results:
        row = dict(zip(RESULTS, result, strict=True))
        counts["with warnings"] += bool(row["warnings"])
        counts["outside the range of the training data"] += row["in_range"] == "false"
        if row["image_reason"] not in ("", "no_thumbnail", "no_image_tower"):
            images[row["image_reason"]] += 1
        if row["error"]:
            errors[shown(re.sub(r"'[^']*'", "...", row["error"]), 120)] += 1
    parts = [f"{count} {kind}" for kind, count in counts.items() if count or kind == "with warnings"]
    if unknown:
        texts = ", ".join(text for text, _ in unknown.most_common(5))
        parts.append(f"{unknown.total()} cells read as unknown: {texts} (--na names more)")
    reasons = ", ".join(f"{count} {reason}" for reason, count in images.most_common(10))
    lines = [f"\n  {images.total()} of the thumbnails were not usable: {reasons}"] if images else []
    lines += [f"\n  {count} rows: {error}" for error, count in errors.most_common(10)]
    return "".join([f"; {', '.join(parts)}" if parts else "", *lines]), errors.total()


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


# miles_client.files.tables


Cells = dict[str, Any]
BROKEN_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)
WORKBOOK = "a workbook or another archive; save it as CSV (UTF-8) first"
# The first bytes of files that are not text.
NOT_TEXT = {
    **dict.fromkeys((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"), WORKBOOK),
    b"\x1f\x8b": "compressed with gzip; its name must end in .gz",
    **dict.fromkeys((b"BZh", b"\xfd7zX", b"(\xb5/\xfd"), "compressed, but not with gzip; unpack it first"),
    b"PAR1": "a Parquet file; its name must end in .parquet",
}


class Table(ABC):
    """A file of rows, read from the front as often as needed."""

    columns: list[str]
    note = ""
    """How the file is read, if not in the default way."""

    @abstractmethod
    def rows(self) -> Iterator[Cells]:
        """Each row by column name; a malformed row has one key, None, with the reason."""

    @abstractmethod
    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Write this table with the columns `names` appended."""


def opened_text(path: Path, mode: str, encoding: str) -> IO[str]:
    """A text file, compressed if its name ends in .gz; characters that its encoding lacks are escaped."""
    errors = "backslashreplace" if mode == "w" else "strict"
    if is_gzip(path):
        compressed: Any = gzip.open(path, f"{mode}t", encoding=encoding, errors=errors, newline="")  # noqa: SIM115
        return compressed  # type: ignore[no-any-return]
    return path.open(mode, encoding=encoding, errors=errors, newline="")


def is_gzip(path: Path) -> bool:
    """Whether a file's name ends in .gz."""
    return path.suffix.lower() == ".gz"


def start_of(path: Path) -> bytes:
    """The first four bytes, decompressed if the name ends in .gz."""
    try:
        with gzip.open(path, "rb") if is_gzip(path) else path.open("rb") as opened:
            return opened.read(4)
    except BROKEN_GZIP as exc:
        raise SettingError(f"{path}: not a whole gzip file ({exc}); is .gz the right ending?") from exc


def encoding_of(path: Path, encoding: str) -> str:
    """The encoding that a byte order mark names, else `encoding`; raises `SettingError` for a binary file."""
    start = start_of(path)
    if what := next((what for begun, what in NOT_TEXT.items() if start.startswith(begun)), None):
        raise SettingError(f"{path}: {what}")
    if encoding != "utf-8":
        return encoding
    if start[:3] == b"\xef\xbb\xbf":
        return "utf-8-sig"
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in start:  # UTF-8 text has none
        order = "be" if start[:1] == b"\0" else "le"
        raise SettingError(
            f"{path}: not utf-8; if it is UTF-16 without a byte order mark, add --encoding utf-16-{order}"
        )
    return encoding


class CsvTable(Table):
    """A CSV file; cells are passed on unchanged, empty ones as null."""

    def __init__(self, path: Path, delimiter: str | None, encoding: str) -> None:
        csv.field_size_limit(2**31 - 1)  # a cell may hold a whole image as a data: URL
        self._path, self._encoding = path, encoding_of(path, encoding)
        self._separator_line = ""
        """Excel's first line `sep=;`, which names the delimiter."""
        found = self._found_delimiter()
        self._delimiter = delimiter or found
        self.columns = [cell.strip() for cell in next(self._lines(), [])]
        self._width = len(self.columns)
        """The number of cells in the longest line read so far."""
        if self._delimiter != ",":
            self.note = f"the delimiter is {self._delimiter!r} (--delimiter sets another)"

    def _found_delimiter(self) -> str:
        """The one of , ; tab and | that gives the most columns with a field's name, then the most columns."""
        try:
            with opened_text(self._path, "r", self._encoding) as opened:
                line = next((line for line in opened if line.strip()), "")
        except UnicodeDecodeError as exc:
            raise self._not_text(exc) from exc
        if named := re.fullmatch(r'"?sep=(.)"?\s*', line):
            self._separator_line = line
            return named[1]

        def columns(delimiter: str) -> tuple[int, int]:
            cells = next(csv.reader([line], delimiter=delimiter), [])
            return sum(field_like(cell) is not None for cell in cells), len(cells)

        return max(",;\t|", key=columns)

    def _not_text(self, exc: UnicodeDecodeError) -> SettingError:
        return SettingError(
            f"{self._path}: not {self._encoding} ({exc.reason}); set --encoding, such as cp1252 or utf-16"
        )

    def _lines(self) -> Iterator[list[str]]:
        with opened_text(self._path, "r", self._encoding) as opened:
            reader = csv.reader(opened, delimiter=self._delimiter, strict=True)
            try:
                opened.readline(len(self._separator_line))
                yield from (cells for cells in reader if cells)
            except UnicodeDecodeError as exc:
                raise self._not_text(exc) from exc
            except (csv.Error, *BROKEN_GZIP) as exc:
                raise SettingError(f"{self._path}: line {reader.line_num}: {exc}") from exc

    def rows(self) -> Iterator[Cells]:
        """Each line after the header; lines of the wrong length are reported, not guessed at.

        Cells of columns without a name may be absent, and empty cells after the last column are ignored.
        """
        named = max((place for place, name in enumerate(self.columns, 1) if name), default=0)
        for cells in itertools.islice(self._lines(), 1, None):
            self._width = max(self._width, len(cells))
            if len(cells) < named or any(cell.strip() for cell in cells[len(self.columns) :]):
                yield {None: f"{len(cells)} cells, the header has {len(self.columns)}"}  # type: ignore[dict-item]
            else:
                yield {name: cell.strip() and cell for name, cell in zip(self.columns, cells, strict=False)}

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Cells unchanged; short lines, and the header, are padded so that results land in their columns."""
        with opened_text(path, "w", self._encoding) as opened:
            opened.write(self._separator_line)
            writer = csv.writer(opened, delimiter=self._delimiter, lineterminator="\n")
            writer.writerow([*padded(self.columns, self._width), *names])
            for cells, result in zip(itertools.islice(self._lines(), 1, None), results, strict=False):
                writer.writerow([*padded(cells, self._width), *result])


def padded(cells: Sequence[str], width: int) -> list[str]:
    """The cells, followed by empty ones up to `width`."""
    return [*cells, *[""] * (width - len(cells))]


class JsonLines(Table):
    """A file with a JSON object in each line."""

    def __init__(self, path: Path) -> None:
        self._path, self._encoding = path, encoding_of(path, "utf-8")
        self.columns = list(dict.fromkeys(name for row in self.rows() for name in row if name is not None))

    def _lines(self) -> Iterator[str]:
        try:
            with opened_text(self._path, "r", self._encoding) as opened:
                yield from (line for line in opened if line.strip())
        except (UnicodeDecodeError, *BROKEN_GZIP) as exc:
            raise SettingError(f"{self._path}: {exc}") from exc

    def rows(self) -> Iterator[Cells]:
        """Each object; any other line is reported as malformed."""
        for line in self._lines():
            try:
                row = json.loads(line)
                yield row if isinstance(row, dict) else {None: f"not an object: {shown(line.strip())}"}  # type: ignore[dict-item]
            except (ValueError, RecursionError) as exc:
                yield {None: f"not JSON: {exc}"}  # type: ignore[dict-item]

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Objects with the results added; a malformed line becomes an object with its error."""
        with opened_text(path, "w", "utf-8") as opened:
            for row, result in zip(self.rows(), results, strict=False):
                values = map(typed, result, RESULTS.values())
                kept = {name: value for name, value in row.items() if name is not None}
                whole = kept | dict(zip(names, values, strict=True))
                # The file escapes half a surrogate pair, which UTF-8 cannot hold, in the same way as JSON.
                opened.write(json.dumps(whole, ensure_ascii=False) + "\n")


class ParquetTable(Table):
    """A Parquet file, a thousand rows at a time."""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow.parquet
        except ImportError as exc:
            raise SettingError(f"{path}: Parquet needs pyarrow: pip install pyarrow") from exc
        self._arrow, self._path = pyarrow, path
        try:
            self._file = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as exc:
            raise SettingError(f"{path}: {shown(exc, 300)}") from exc
        self.columns = list(self._file.schema_arrow.names)

    def rows(self) -> Iterator[Cells]:
        """Each row."""
        try:
            for batch in self._file.iter_batches(1000):
                yield from self._rows_of(batch)
        except (self._arrow.ArrowException, OSError) as exc:
            raise SettingError(f"{self._path}: {shown(exc, 300)}") from exc

    def _rows_of(self, batch: Any) -> list[Cells]:
        try:
            found: list[Cells] = batch.to_pylist()
        except (ValueError, OverflowError):  # a cell that Python cannot hold: nanoseconds, the year 10000
            columns = [[self._cell(scalar) for scalar in column] for column in batch.columns]
            found = [dict(zip(self.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]
        return found

    def _cell(self, scalar: Any) -> Any:
        try:
            return scalar.as_py()
        except (ValueError, OverflowError):
            arrow = self._arrow
            is_time = arrow.types.is_temporal(scalar.type)
            return scalar.cast(arrow.string() if is_time else arrow.binary()).as_py()

    def write(self, path: Path, names: Sequence[str], results: Iterator[list[str]]) -> None:
        """Input columns keep their types; figures are float64, in_range is boolean, the rest is text."""
        arrow = self._arrow
        types = {float: arrow.float64(), bool: arrow.bool_(), str: arrow.string()}
        kinds = [types[kind] for kind in RESULTS.values()]
        fields = [arrow.field(name, kind) for name, kind in zip(names, kinds, strict=True)]
        schema = arrow.schema([*self._file.schema_arrow, *fields])
        with arrow.parquet.ParquetWriter(path, schema) as writer:
            for batch in self._file.iter_batches(1000):
                some = list(itertools.islice(results, batch.num_rows))
                batch = batch.slice(0, len(some))
                cells = zip(*some, strict=True) if some else [()] * len(kinds)
                columns = [
                    arrow.array([typed(cell, kind) for cell in column], arrow_kind)
                    for column, kind, arrow_kind in zip(cells, RESULTS.values(), kinds, strict=True)
                ]
                writer.write_batch(arrow.RecordBatch.from_arrays([*batch.columns, *columns], schema=schema))


def json_value(value: Any) -> Any:
    """A value of a file as a JSON value: dates as ISO 8601, durations in seconds, NaN as null."""
    if isinstance(value, date):  # datetime included
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)  # the service refuses it, for this row only
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def kind_of(path: Path) -> str:
    """A file's kind by its name: csv, jsonl or parquet."""
    suffix = (path.with_suffix("") if is_gzip(path) else path).suffix.lower()
    return {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(suffix, "csv")


def opened_table(path: Path, delimiter: str | None, encoding: str) -> Table:
    """Open the file; raises `SettingError` when it is not a readable table."""
    if not path.is_file():
        is_pipe = path.exists() or str(path) == "-"
        what = "not a file; it is read twice, so save it first" if is_pipe else "no such file"
        raise SettingError(f"{path}: {what}")
    if path.suffix.lower() == ".json":
        raise SettingError(
            f"{path}: write one object per line, in a file that ends in .jsonl: jq -c '.[]' {path}"
        )
    kind = kind_of(path)
    table: Table
    if kind == "parquet":
        table = ParquetTable(path)
    else:
        table = JsonLines(path) if kind == "jsonl" else CsvTable(path, delimiter, encoding)
    if not any(table.columns):
        expected = "an object in each line" if kind == "jsonl" else "a header with column names"
        raise SettingError(f"{path}: empty, expected {expected}")
    return table


# miles_client.files.columns


SUFFIXED = re.compile(r"(\d+(?:\.\d+)?)\s?([KMB])(?:\s+[a-z]+)?", re.IGNORECASE)
FACTORS = {"K": 1e3, "M": 1e6, "B": 1e9}
DOTTED = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")


@dataclass(frozen=True)
class Columns:
    """Which column each request field is read from, and how cells are read."""

    fields: Mapping[str, str]
    nulls: Sequence[str] = ()
    suffixes: bool = False
    unknown: Counter[str] = dataclasses.field(default_factory=Counter)
    """How often each text was read as unknown."""

    def video(self, row: Cells) -> Cells:
        """The request for a row, without nulls; raises `ValueError` for a cell that cannot be read."""
        cells = {field: row.get(column) for field, column in self.fields.items()}
        video = {field: self._value(field, cell) for field, cell in cells.items()}
        return {field: value for field, value in video.items() if value is not None and value != ""}

    def _value(self, field: str, cell: Any) -> Any:
        if isinstance(cell, list | dict):
            raise ValueError(f"{field}: expected one value, found {shown(cell)}")  # noqa: TRY004  a row error
        if isinstance(cell, bytes):
            cell = _decoded(field, cell)
        if not isinstance(cell, str):
            return json_value(cell)
        text = cell.strip()
        if field in TEXTS:
            return None if field != "title" and text in self.nulls else cell
        if text in self.nulls or is_unknown(field, text):
            self.unknown[text] += 1
            return None
        if field.endswith("_count") and DOTTED.fullmatch(text):
            raise ValueError(f"{field}: {text!r} may have dots between thousands: write it without them")
        if field not in NUMBERS or (found := SUFFIXED.fullmatch(text)) is None:
            return text  # the service reads it
        if not self.suffixes:
            raise ValueError(f"{field}: {text!r} is rounded; add --suffixes to read it as a number")
        return round(float(found[1]) * FACTORS[found[2].upper()])


def _decoded(field: str, cell: bytes) -> str:
    """The text of a binary cell; raises `ValueError` if it is not UTF-8."""
    try:
        return cell.decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"{field}: {shown(cell)} is not UTF-8 ({exc.reason})") from exc


def mapping(table: Table, named: Sequence[str], *, thumbnails: bool) -> dict[str, str]:
    """Map request fields to columns; raises `SettingError` for an unknown field or column.

    Also raises it if there is no view count but a column looks like one: all rows would have 0 views.
    """
    found = {field: field for field in REQUEST_FIELDS if field in table.columns}
    without = set()
    for pair in named:
        field, _, column = pair.partition("=")
        if field not in REQUEST_FIELDS or (column and column not in table.columns):
            raise SettingError(
                f"--map {pair}: expected FIELD=COLUMN with a field of {', '.join(REQUEST_FIELDS)} "
                f"and a column of {shown(', '.join(table.columns), 300)}"
            )
        if column:
            found[field] = column
        else:
            found.pop(field, None)
            without.add(field)
    twice = [column for column in found.values() if table.columns.count(column) > 1]
    if twice:
        raise SettingError(f"the header has {', '.join(twice)} more than once: rename all but one of them")
    maps = options_for(near(table.columns, found))
    if "title" not in found:
        proposed = maps if "--map title=" in maps else f"--map title=COLUMN {maps}".strip()
        raise SettingError(f"no column `title` in {shown(', '.join(table.columns), 300)}; add {proposed}")
    if "view_count" not in found and "--map view_count=" in maps and "view_count" not in without:
        raise SettingError(
            f"no column `view_count` in {shown(', '.join(table.columns), 300)}; add {maps}, "
            "or --map view_count= to score without views"
        )
    if not thumbnails:
        found = {field: column for field, column in found.items() if not field.startswith("thumbnail")}
    return found


def options_for(columns: Mapping[str, str]) -> str:
    """The options that read these columns, as they are typed in a shell."""
    return " ".join(f"--map {shlex.quote(f'{field}={column}')}" for field, column in columns.items())


def overview(table: Table, found: Mapping[str, str]) -> str:
    """Which columns are read and which are not, with the options that would read them."""
    read = [field if field == column else f"{field} (from {column})" for field, column in found.items()]
    rest = [name for name in table.columns if name and name not in found.values()]
    absent = [field for field in REQUEST_FIELDS[:6] if field not in with_other_names(found)]
    maps = options_for(near(table.columns, found))
    parts = [f"reads {', '.join(read)}"]
    parts += [f"not in the file: {', '.join(absent)}"] if absent else []
    parts += [f"not read: {shown(', '.join(rest), 300)}"] if rest else []
    parts += [f"to read them: {maps}"] if maps else []
    parts += [table.note] if table.note else []
    return "; ".join(parts)


def requests_of(rows: Iterable[Cells], columns: Columns) -> Iterator[Cells | Refusal]:
    """Each row's request, or why there is none."""
    for row in rows:
        try:
            wrong: Any = row.get(None)  # type: ignore[call-overload]
            yield Refusal(wrong) if wrong else columns.video(row)
        except ValueError as exc:
            yield Refusal(str(exc))


# miles_client.files.finished


class Finished:
    """`OUTPUT.part`: the first line identifies the job, each other line holds a finished row's results.

    It is locked until the block ends. Raises `SettingError` if it is another job's or another run holds it.
    """

    def __init__(self, path: Path, purpose: Mapping[str, Any]) -> None:
        self.path, first = path, json.dumps(purpose, sort_keys=True).encode() + b"\n"
        self._lock = _locked(path)
        try:
            self.count = self._continued(first)
        except SettingError:
            self._lock.close()
            raise

    def _continued(self, first: bytes) -> int:
        """The number of finished rows; cuts off an incomplete last row."""
        if not self.path.stat().st_size:
            self.path.write_bytes(first)
        with self.path.open("r+b") as opened:
            if opened.readline() != first:
                raise SettingError(
                    f"{self.path} belongs to another input or to other options: remove it to start over"
                )
            count, whole = 0, len(first)
            for line in opened:
                if line.endswith(b"\n"):  # the last one may have been cut off
                    count, whole = count + 1, whole + len(line)
            opened.truncate(whole)
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def add(self, results: Iterable[Sequence[str]]) -> None:
        """Append finished rows; they are on disk when this returns."""
        with _named(self.path), self.path.open("a", encoding="utf-8", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows(results)
            opened.flush()
            os.fsync(opened.fileno())

    def results(self) -> Iterator[list[str]]:
        """All results, in the input's order."""
        with self.path.open(encoding="utf-8", newline="") as opened:
            yield from itertools.islice(csv.reader(opened), 1, None)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an `OSError` in the block into an error that names the file and the next step."""
    try:
        yield
    except OSError as exc:
        raise SettingError(
            f"{exc.filename or path}: {exc.strerror or exc}; finished rows are kept: run the command again "
            "once this is fixed"
        ) from exc


@contextmanager
def whole_or_removed(path: Path) -> Iterator[None]:
    """A block that writes this file; the file is removed if the block fails."""
    try:
        with _named(path):
            yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _locked(path: Path) -> IO[bytes]:
    """The file, locked while it is open."""
    opened = path.open("ab")
    try:
        import fcntl  # not on Windows

        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        opened.close()
        raise SettingError(f"{path}: another run is writing it; choose another output") from exc
    except (ImportError, OSError):
        pass  # a system or a file system without locks
    return opened


def sha256_of(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


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


# miles_client.files.progress


PROGRESS_INTERVAL_S = 5.0  # between progress lines when there is no terminal


class Progress:
    """Progress and remaining time: a bar on a terminal, an occasional line elsewhere."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done, self._first = total, done, done
        self._is_terminal = can_redraw(sys.stderr)
        self._begun = self._said = time.monotonic()
        if done:
            self.note(f"{done} of {total} rows were already finished")

    def advance(self, rows: int) -> None:
        """Add finished rows."""
        self._done += rows
        now = time.monotonic()
        if self._is_terminal or now - self._said >= PROGRESS_INTERVAL_S:
            self._said = now
            rate = (self._done - self._first) / max(now - self._begun, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            text = (
                f"{self._done}/{self._total} rows, {rate:.1f}/s, {left // 60:.0f} min {left % 60:.0f} s left"
            )
            drawn = bar(self._done, self._total, text) if self._is_terminal else text
            print(drawn, end="" if self._is_terminal else "\n", file=sys.stderr, flush=True)

    def note(self, sentence: str) -> None:
        """Print a line."""
        print((CLEAR if self._is_terminal else "") + sentence, file=sys.stderr, flush=True)


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


# miles_client.files.scoring


# Reasons for a failed thumbnail that may no longer apply a minute later.
PASSING_REASON = re.compile(r"timeout|unreachable|truncated|unavailable|http_(429|5\d\d)")


class Scoring:
    """Scores each video of a batch, or finds out why it can't be scored, retrying as needed."""

    def __init__(self, service: Service, patience: Patience, stop: StopSignals, progress: "Progress") -> None:
        self._service, self._patience, self._stop, self._progress = service, patience, stop, progress
        self._scored = False

    def __call__(self, videos: Sequence[Cells]) -> list[Score | Refusal]:
        """Outcomes in the order of `videos`. Raises `Unavailable`, or `Stopped` on a signal."""
        settled: dict[int, Score | Refusal] = {}
        tries = dict.fromkeys(range(len(videos)), 0)
        while waiting := sorted(tries.keys() - settled.keys(), key=lambda index: (tries[index], index)):
            before, trouble = len(settled), None
            try:
                with self._stop.interruptible():
                    for position, outcome in self._service.score([videos[index] for index in waiting]):
                        index = waiting[position]
                        tries[index] += not isinstance(outcome, Unavailable) or outcome.suspect
                        if not isinstance(outcome, Unavailable):
                            settled[index] = outcome
                            self._scored |= isinstance(outcome, Score)
                        elif tries[index] >= TRIES and self._scored:
                            settled[index] = Refusal(f"no answer in {TRIES} tries; {outcome}")
                        else:
                            trouble = outcome
            except Unavailable as exc:
                trouble = exc
            if len(settled) > before:
                self._patience.reset()
            if trouble is not None:
                self._service.ask_singly(len(videos) if trouble.suspect else 0)
                wait = self._patience.wait_s(trouble)
                self._progress.note(f"waiting {wait:.0f} s for the service: {trouble}")
                self._stop.sleep(wait)
        return [settled[index] for index in range(len(videos))]


@dataclass(frozen=True)
class ImageRules:
    """How often to score rows again whose thumbnail may load later, and whether a thumbnail is required."""

    retries: int
    wait_s: float
    is_required: bool


def with_images(
    scoring: Scoring, videos: Sequence[Cells], rules: ImageRules, stop: StopSignals
) -> list[Score | Refusal]:
    """The outcome of each video; those whose thumbnail may load later are scored again after a wait."""
    outcomes = scoring(videos)
    for attempt in range(rules.retries):
        again = [
            index
            for index, outcome in enumerate(outcomes)
            if image_of(outcome).get("state") == "failed"
            and PASSING_REASON.fullmatch(str(image_of(outcome).get("reason")))
        ]
        if not again:
            break
        stop.sleep(rules.wait_s * 2**attempt)
        for index, outcome in zip(again, scoring([videos[index] for index in again]), strict=True):
            outcomes[index] = outcome if isinstance(outcome, Score) else outcomes[index]
    if not rules.is_required:
        return outcomes
    return [_required(outcome) for outcome in outcomes]


def _required(outcome: Score | Refusal) -> Score | Refusal:
    image = image_of(outcome)
    if isinstance(outcome, Refusal) or (image.get("state") == "used" and not image.get("reason")):
        return outcome
    return Refusal(f"no usable thumbnail: {image.get('reason') or image.get('state')}")


def score_rest(
    table: Table,
    columns: Columns,
    finished: Finished,
    score: Callable[[Sequence[Cells]], Sequence[Score | Refusal]],
    size: int,
    total: int,
) -> Iterator[int]:
    """Score the remaining rows up to `total`; yields the number of rows finished by each call."""
    rest = itertools.islice(table.rows(), finished.count, total)
    while some := list(itertools.islice(rest, size)):
        requests = list(requests_of(some, columns))
        scores = iter(score([video for video in requests if not isinstance(video, Refusal)]))
        outcomes = (video if isinstance(video, Refusal) else next(scores) for video in requests)
        finished.add(result_of(outcome) for outcome in outcomes)
        yield len(some)


# miles_client.files.__main__


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    command = os.environ.get("MILES_COMMAND")  # ./miles score, which runs this file
    parser = argparse.ArgumentParser(
        prog=command,
        usage="%(prog)s [OPTIONS] INPUT [OUTPUT]   (--help lists them)",
        description=(__doc__ or "").replace("python score_csv.py", command or "python score_csv.py"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", type=Path, help="a .csv, .csv.gz, .jsonl, .jsonl.gz or .parquet file")
    add("output", type=Path, nargs="?", help="default: INPUT.scored with the input's ending")
    add("--url", help="the service's URL; overrides INFERENCE_API_URL")
    add(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="the column of a field; may be repeated",
    )
    add(
        "--thumbnails",
        choices=["use", "none"],
        default="use",
        help="none: score without thumbnails (default: use)",
    )
    add(
        "--require", choices=["image"], help="image: a row without a usable thumbnail gets an error, no score"
    )
    add(
        "--retry-images",
        type=int,
        default=0,
        metavar="N",
        help="score rows up to N times more if a thumbnail timed out, was unreachable or got HTTP 429 or 5xx",
    )
    add("--prefix", default="", help="prefix of the new columns (default: none)")
    add("--limit", type=positive(int), metavar="N", help="only the first N rows")
    add("--dry-run", action="store_true", help="check the file, print the first row's request, send nothing")
    add(
        "--na",
        default="",
        metavar="TEXTS",
        help=f"more cells to read as unknown, separated by commas, in addition to {' '.join(NULLS)}",
    )
    add("--suffixes", action="store_true", help="read 1.2K, 3M and 1B as numbers")
    add("--batch", type=positive(int), default=64, help="rows per call, at most 256 (default: 64)")
    add("--delimiter", type=_delimiter, help="CSV delimiter (default: found in the header)")
    add("--encoding", type=_encoding, default="utf-8", help="CSV encoding (default: utf-8)")
    add("--timeout", type=positive(float), default=60.0, help="seconds per call (default: 60)")
    add(
        "--patience",
        type=positive(float),
        default=300.0,
        help="how long to wait for a sleeping service, in seconds (default: 300)",
    )
    add("--waits", type=seconds, default=list(WAITS_S), help="seconds between tries (default: 5,15,30,60)")
    return parser


def _delimiter(text: str) -> str:
    """One character; tab may be written as \\t."""
    found = "\t" if text in ("\\t", "tab") else text
    if len(found) != 1 or found in '"\r\n':
        raise argparse.ArgumentTypeError(f"{text!r}: expected one character, such as ';' or '\\t'")
    return found


def _encoding(text: str) -> str:
    try:
        "".encode(text)  # codecs.lookup accepts base64 and the like, too
        return codecs.lookup(text).name
    except LookupError as exc:
        raise argparse.ArgumentTypeError(f"{text!r}: expected an encoding such as cp1252 or utf-16") from exc


def target_of(options: argparse.Namespace) -> Path:
    """The output's path; raises `SettingError` if it exists or its type differs from the input's."""
    source: Path = options.input
    ending = "".join(source.suffixes[-2:] if is_gzip(source) else source.suffixes[-1:])
    target: Path = options.output or source.with_name(f"{source.name.removesuffix(ending)}.scored{ending}")
    if target.exists() and target.samefile(source):
        raise SettingError(f"{target} is the input: choose another output")
    if str(target) == "-" or (target.exists() and not target.is_file()):
        raise SettingError(f"{target} is not a file: name one to write")
    if target.exists():
        raise SettingError(f"{target} already exists: remove it or choose another output")
    if kind_of(target) != kind_of(source):
        raise SettingError(f"{target}: the output must have the type of the input ({ending})")
    return target


def score_file(options: argparse.Namespace, stop: StopSignals) -> int:
    """Score the whole file; returns the exit code."""
    source = options.input
    table = opened_table(source, options.delimiter, options.encoding)
    target = target_of(options)
    fields = mapping(table, options.map, thumbnails=options.thumbnails == "use")
    names = [options.prefix + name for name in RESULTS]
    if taken := [name for name in names if name in table.columns]:
        raise SettingError(f"{source} already has the columns {', '.join(taken)}: add --prefix miles_")
    columns = Columns(fields, options.na.split(",") if options.na else (), options.suffixes)
    # Reads everything once, so that a broken file fails before an hour of work.
    total = sum(1 for _ in itertools.islice(table.rows(), options.limit))
    print(f"{source}: {overview(table, fields)}", file=sys.stderr)
    if options.dry_run:
        said = f"{total} rows"
        for request in requests_of(itertools.islice(table.rows(), min(total, 1)), columns):
            found = (
                request.reason if isinstance(request, Refusal) else json.dumps(request, ensure_ascii=False)
            )
            said += f"; the first one's request: {found}"
        print(said)
        return DONE
    known = settings(os.environ, [Path.cwd() / ".env", Path(sys.argv[0]).parent / ".env"])
    service = opened_service(
        known | ({"INFERENCE_API_URL": options.url} if options.url else {}), options.timeout
    )
    purpose = {"input": sha256_of(source), "fields": fields, "results": names}
    purpose |= {"na": options.na, "suffixes": options.suffixes, "limit": options.limit}
    purpose |= {"require": options.require}
    rules = ImageRules(options.retry_images, options.waits[0], options.require == "image")
    with Finished(target.with_name(target.name + ".part"), purpose) as finished:
        progress = Progress(total, finished.count)
        scoring = Scoring(service, Patience(options.patience, options.waits), stop, progress)
        score = partial(with_images, scoring, rules=rules, stop=stop)
        for rows in score_rest(table, columns, finished, score, min(options.batch, 256), total):
            progress.advance(rows)
        unfinished = target.with_name(f"unfinished-{target.name}")
        with whole_or_removed(unfinished):
            table.write(unfinished, names, finished.results())
            lines, wrong = closing(finished.results(), columns.unknown)
            if sha256_of(source) != purpose["input"]:
                raise SettingError(
                    f"{source} was changed while it was scored, so the scores may be those of other rows: "
                    f"remove {finished.path} and run the command again"
                )
        unfinished.replace(target)
        finished.path.unlink()
    progress.note(f"{target}: {total - wrong} rows scored, {wrong} with an error{lines}")
    return ROWS_LEFT if wrong else DONE


def line_of(exc: Exception) -> str:
    """The error in one line; an `OSError` names its file, if it has one."""
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror
    return str(exc)


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    prepare_output()
    options = arguments().parse_args(words)
    stop = StopSignals()
    stop.install()
    try:
        return score_file(options, stop)
    except (SettingError, OSError) as exc:
        code, said = WRONG_SETTING, line_of(exc)
    except Unavailable as exc:
        code = NO_SERVICE
        said = f"the service did not answer: {exc}; start it or correct --url, then run the command again"
    except Stopped:
        code, said = 128 + (stop.number or 0), "stopped; run the command again to continue"
    finally:
        give_up_output()
    with suppress(OSError):  # stderr may not be writable
        print(f"score_csv: {said}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
