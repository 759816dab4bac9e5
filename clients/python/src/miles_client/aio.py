"""The same client for asyncio."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
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


class AsyncClient:
    """`Client` for asyncio, with the same parameters and methods."""

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
        self._http = httpx.AsyncClient(base_url=self.url, headers=headers(api_key), timeout=limits(timeout_s))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(self, video: AnyVideo, *, timings: bool = False) -> Prediction:
        """One video's score."""
        return calls.parsed(await self._asked(calls.predict(video, timings)), Prediction)

    async def predict_batch(self, videos: Sequence[AnyVideo], *, timings: bool = False) -> list[Entry]:
        """An entry for each video, in their order; more than 256 are sent in several requests."""
        return [
            entry
            for first, part in calls.parts(videos)
            for entry in calls.entries_in(await self._asked(calls.batch(part, timings)), first, len(part))
        ]

    async def stream(self, videos: Sequence[AnyVideo], *, timings: bool = False) -> AsyncIterator[Entry]:
        """Each video's entry as soon as it is scored, in any order.

        Raises `IncompleteBatchError` when the stream ends early.
        """
        for first, part in calls.parts(videos):
            lines, call = Lines(first, len(part)), calls.batch(part, timings)
            response = await self._retried(self._opened, call)
            try:
                async for line in response.aiter_lines():
                    yield lines.entry(line)
            except httpx.HTTPError as exc:
                raise IncompleteBatchError(lines.missing) from exc
            finally:
                await response.aclose()
            lines.end()

    async def explain(self, video: AnyVideo, what_if: Sequence[Mapping[str, Any]] = ()) -> Explained:
        """A score, what moved it, and the scores that up to 16 changes to the video would give."""
        return calls.parsed(await self._asked(calls.explain(video, what_if)), Explained)

    async def model_info(self) -> dict[str, Any]:
        """Everything that a score depends on: features, checkpoint, metrics, limits."""
        return calls.parsed(await self._asked(calls.MODEL_INFO), dict[str, Any])

    async def health(self) -> Health:
        """Whether the service can score; asks once."""
        with translated(self._timeout_s):
            return calls.health_in(await self._http.request(**calls.READY))

    async def wake(self) -> Health:
        """Wait until the service can score."""

        async def ready() -> Health:
            health = await self.health()
            if not health.model_loaded:
                raise AsleepError(f"the model is not ready: {health.status}", 503)
            return health

        return await self._retried(ready)

    async def _retried(self, work: Callable[..., Awaitable[Result]], *words: Any) -> Result:
        patience = self._patience()
        while True:
            try:
                return await work(*words)
            except MilesError as error:
                if not error.is_passing:
                    raise
                wait_s = patience.wait_s(error)
                if self._on_wait:
                    self._on_wait(wait_s, error)
            await asyncio.sleep(wait_s)

    async def _asked(self, call: Call) -> Any:
        return await self._retried(self._once, call)

    async def _once(self, call: Call) -> Any:
        with translated(self._timeout_s):
            return read(await self._http.request(**call))

    async def _opened(self, call: Call) -> httpx.Response:
        """A stream whose status is 200; its lines are not read yet."""
        request = self._http.build_request(**call, headers={"Accept": calls.NDJSON})
        with translated(self._timeout_s):
            response = await self._http.send(request, stream=True)
            if response.status_code != 200 or calls.NDJSON not in response.headers.get("Content-Type", ""):
                await response.aread()
                read(response)
                raise MilesError("expected a stream of lines: check the URL")
        return response
