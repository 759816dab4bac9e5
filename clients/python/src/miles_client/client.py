"""The client: one method per route."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeVar

import httpx

from miles_client import calls
from miles_client.calls import Call, Lines, OnWait
from miles_client.errors import AsleepError, IncompleteBatchError, MilesError
from miles_client.models import AnyVideo, Entry, Explained, Health, Prediction
from miles_client.service import Patience
from miles_client.settings import WAITS_S
from miles_client.wire import headers, limits, read, service_root, translated

Result = TypeVar("Result")


class Client:
    """A client of a running Miles.

    `timeout_s` limits one try; in a stream, the wait for each line. A call to a service that is asleep,
    starting or busy is retried for at most `patience_s`; `on_wait(seconds, error)` is called before each
    wait. Raises `ValueError` for an invalid URL or key; every method raises the errors of
    `miles_client.errors`.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 60,
        patience_s: float = 300,
        waits_s: Sequence[float] = WAITS_S,
        on_wait: OnWait | None = None,
    ) -> None:
        self.url, self._timeout_s = service_root(url), timeout_s
        self._patience = partial(Patience, patience_s, waits_s)
        self._on_wait = on_wait
        self._http = httpx.Client(base_url=self.url, headers=headers(api_key), timeout=limits(timeout_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, video: AnyVideo, *, timings: bool = False) -> Prediction:
        """One video's score."""
        return calls.parsed(self._asked(calls.predict(video, timings)), Prediction)

    def predict_batch(self, videos: Sequence[AnyVideo], *, timings: bool = False) -> list[Entry]:
        """An entry for each video, in their order; more than 256 are sent in several requests."""
        return [
            entry
            for first, part in calls.parts(videos)
            for entry in calls.entries_in(self._asked(calls.batch(part, timings)), first, len(part))
        ]

    def stream(self, videos: Sequence[AnyVideo], *, timings: bool = False) -> Iterator[Entry]:
        """Each video's entry as soon as it is scored, in any order.

        Raises `IncompleteBatchError` when the stream ends early.
        """
        for first, part in calls.parts(videos):
            lines, call = Lines(first, len(part)), calls.batch(part, timings)
            response = self._retried(self._opened, call)
            try:
                for line in response.iter_lines():
                    yield lines.entry(line)
            except httpx.HTTPError as exc:
                raise IncompleteBatchError(lines.missing) from exc
            finally:
                response.close()
            lines.end()

    def explain(self, video: AnyVideo, what_if: Sequence[Mapping[str, Any]] = ()) -> Explained:
        """A score, what moved it, and the scores that up to 16 changes to the video would give."""
        return calls.parsed(self._asked(calls.explain(video, what_if)), Explained)

    def model_info(self) -> dict[str, Any]:
        """Everything that a score depends on: features, checkpoint, metrics, limits."""
        return calls.parsed(self._asked(calls.MODEL_INFO), dict[str, Any])

    def health(self) -> Health:
        """Whether the service can score; asks once."""
        with translated(self._timeout_s):
            return calls.health_in(self._http.request(**calls.READY))

    def wake(self) -> Health:
        """Wait until the service can score."""

        def ready() -> Health:
            health = self.health()
            if not health.model_loaded:
                raise AsleepError(f"the model is not ready: {health.status}", 503)
            return health

        return self._retried(ready)

    def _retried(self, work: Callable[..., Result], *words: Any) -> Result:
        patience = self._patience()
        while True:
            try:
                return work(*words)
            except MilesError as error:
                if not error.is_passing:
                    raise
                wait_s = patience.wait_s(error)
                if self._on_wait:
                    self._on_wait(wait_s, error)
            time.sleep(wait_s)

    def _asked(self, call: Call) -> Any:
        return self._retried(self._once, call)

    def _once(self, call: Call) -> Any:
        with translated(self._timeout_s):
            return read(self._http.request(**call))

    def _opened(self, call: Call) -> httpx.Response:
        """A stream whose status is 200; its lines are not read yet."""
        request = self._http.build_request(**call, headers={"Accept": calls.NDJSON})
        with translated(self._timeout_s):
            response = self._http.send(request, stream=True)
            if response.status_code != 200 or calls.NDJSON not in response.headers.get("Content-Type", ""):
                response.read()
                read(response)
                raise MilesError("expected a stream of lines: check the URL")
        return response
