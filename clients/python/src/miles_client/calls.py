"""The routes as calls, for both clients: what is sent, and how the answer is read."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import httpx
import msgspec

from miles_client.errors import IncompleteBatchError, MilesError, UnexpectedAnswerError
from miles_client.models import AnyVideo, Entry, Health, Prediction, Problem
from miles_client.wire import encoded, json_in, read

MAX_BATCH_VIDEOS = 256
NDJSON = "application/x-ndjson"
Answer = TypeVar("Answer")
Call = dict[str, Any]
"""A request to the service as httpx's keyword arguments: method, url and content."""
OnWait = Callable[[float, MilesError], None]
"""Called before each wait with its seconds and the reason for it."""


def plain(video: AnyVideo) -> Any:
    """A video as JSON values: times as ISO 8601, ids and decimals as text, pandas' NaN as null."""
    values = msgspec.to_builtins(video, enc_hook=str)
    return {name: None if value != value else value for name, value in values.items()}


def predict(video: AnyVideo, timings: bool) -> Call:
    """One video."""
    return _post("/predict", plain(video), timings)


def batch(videos: Sequence[AnyVideo], timings: bool) -> Call:
    """Up to `MAX_BATCH_VIDEOS` videos."""
    return _post("/predict/batch", {"videos": [plain(video) for video in videos]}, timings)


def explain(video: AnyVideo, what_if: Sequence[Mapping[str, Any]]) -> Call:
    """One video and changes to it."""
    return _post("/explain", plain(video) | {"what_if": [plain(changes) for changes in what_if]})


MODEL_INFO: Call = {"method": "GET", "url": "/model/info"}
READY: Call = {"method": "GET", "url": "/health/ready"}


def _post(path: str, payload: Any, timings: bool = False) -> Call:
    return {"method": "POST", "url": path + "?timings=1" * timings, "content": encoded(payload)}


def parsed(body: Any, kind: type[Answer]) -> Answer:
    """The answer as its type; raises `UnexpectedAnswerError` for another shape."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as exc:
        raise UnexpectedAnswerError(f"not an answer from Miles ({exc}): check the URL", 200) from exc


def health_in(response: httpx.Response) -> Health:
    """The service's health, from an answer with status 200 or 503."""
    body = json_in(response)
    if response.status_code == 503 and isinstance(body, dict) and "model_loaded" in body:
        return parsed(body, Health)
    return parsed(read(response), Health)


def entries_in(body: Any, first: int, count: int) -> list[Entry]:
    """The entries of a batch of `count` videos; the first video has the index `first`."""
    entries = body.get("predictions") if isinstance(body, dict) else None
    if not isinstance(entries, list) or len(entries) != count:
        raise UnexpectedAnswerError(f"expected {count} predictions: check the URL", 200)
    return [entry_of(entry, first + index) for index, entry in enumerate(entries)]


def entry_of(body: Any, index: int) -> Entry:
    """One entry of a batch."""
    if isinstance(body, dict) and "error" in body:
        return Entry(index, error=parsed(body["error"], Problem))
    return Entry(index, prediction=parsed(body, Prediction))


def parts(videos: Sequence[AnyVideo]) -> Iterator[tuple[int, Sequence[AnyVideo]]]:
    """The videos in batches of `MAX_BATCH_VIDEOS`, each with the index of its first video."""
    for first in range(0, len(videos), MAX_BATCH_VIDEOS):
        yield first, videos[first : first + MAX_BATCH_VIDEOS]


class Lines:
    """Reads the lines of a stream and tracks which videos have no entry yet."""

    def __init__(self, first: int, count: int) -> None:
        self._first = first
        self._missing = set(range(first, first + count))

    @property
    def missing(self) -> list[int]:
        """The indices of videos without an entry."""
        return sorted(self._missing)

    def entry(self, line: str) -> Entry:
        """One line's entry."""
        try:
            body = json.loads(line)
            index = self._first + body.pop("index")
        except (ValueError, KeyError, AttributeError, TypeError) as exc:
            raise IncompleteBatchError(self.missing) from exc
        self._missing.discard(index)
        return entry_of(body, index)

    def end(self) -> None:
        """Raise `IncompleteBatchError` if a video has no entry."""
        if self._missing:
            raise IncompleteBatchError(self.missing)
