"""One scoring process: the service's own predictor, given rows of files instead of requests."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from anyio.from_thread import start_blocking_portal

from deploy.cores import take_cores
from deploy.score_dataset.job import Job, JobError, Part
from deploy.score_dataset.results import Result, Results
from deploy.score_dataset.sources import Cells, Malformed, Table, as_json
from serving.admission import Admission
from serving.batch import score_each
from serving.predictor import HEALTHY, Predictor
from serving.schemas import FailedItem, PredictResponse
from serving.settings import Settings
from serving.telemetry import Telemetry, configure_logging

AT_ONCE = 64  # rows under way in a process: enough that both towers always find full batches
TRIES = 3
PATIENCE_S = 120.0  # nobody waits for one row
SERVERS_FAULT = 500


@dataclass(frozen=True)
class Work:
    """All that a worker needs; it travels to where the worker starts."""

    job: Job
    table: Table
    results: Results
    settings: Settings
    threads: int
    per_host: int
    """Rows with a thumbnail of one host that this worker has under way."""
    run: str = ""
    """Tells this run from those that somebody stopped: only deaths within one speak against a row."""


class Worker:
    """Scores parts, one after another; Ray Data makes one in each process of its pool."""

    def __init__(self, work: Work) -> None:
        take_cores(work.threads)
        configure_logging("json", "error")
        self._work = work
        self._loop = start_blocking_portal()  # for the process's life, and its thread ends with it
        self._portal = self._loop.__enter__()
        self._stack = AsyncExitStack()
        self._is_open = False
        try:
            self._scoring = self._portal.call(self._open)
            work.results.pin_model(self._scoring.fingerprint)
        except BaseException:
            self._portal.call(self._stack.aclose)
            self._loop.__exit__(None, None, None)  # else its thread keeps the process alive
            raise

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Score the one part in `batch`, unless it is finished; an account of it."""
        part = Part(**{name: values.tolist()[0] for name, values in batch.items()})
        scored = rejected = 0
        if not self._work.results.is_finished(part):
            scored, rejected = self._portal.call(self._score, part)
        return {"rows": [part.rows], "scored": [scored], "rejected": [rejected]}

    async def _open(self) -> "Scoring":
        work = self._work
        settings = work.settings.model_copy(
            update={
                "threads": work.threads,
                "max_queue_size": AT_ONCE,
                "request_timeout_s": PATIENCE_S,
                "max_batch_size": 1 if work.job.exact else work.settings.max_batch_size,
            }
        )
        telemetry = Telemetry()
        admission = Admission(settings.max_queue_size, telemetry.registry)
        failures: list[str] = []

        def on_failure(line: str) -> None:
            failures.append(line)
            if self._is_open:  # a forward hangs: Ray starts another process, which goes on behind the journal
                print(line, file=sys.stderr, flush=True)
                os._exit(1)

        predictor = await self._stack.enter_async_context(Predictor.open(settings, admission, on_failure))
        while predictor.is_loading:  # noqa: ASYNC110  it says that it is ready to whoever asks, as a probe does
            await asyncio.sleep(0.05)
        await asyncio.sleep(0)
        if predictor.status != HEALTHY:
            raise JobError("; ".join(failures) or predictor.status)
        self._is_open = True
        return Scoring(predictor, telemetry, work.per_host)

    async def _score(self, part: Part) -> tuple[int, int]:
        job, results = self._work.job, self._work.results
        names = list(dict.fromkeys([*job.fields.values(), *job.keep]))
        rows = list(self._work.table.rows(part, names))
        journal = results.journal(part)
        done = journal.done()
        before = len(done)

        async def settle(index: int) -> None:
            done[index] = await self._result(rows[index])
            journal.add(index, done[index])

        with journal:
            if (ended := journal.begun_before(self._work.run)) >= TRIES:
                for index in under_way(len(rows), done):
                    row = rows[index]
                    content = "" if isinstance(row, Malformed) else as_json(row)
                    done[index] = {"reason": f"its worker ended {ended} times", "content": content}
                    journal.add(index, done[index])
                journal.begin_anew()
            await in_turn(settle, [index for index in range(len(rows)) if index not in done])
        merged = {index: _kept(rows[index], job.keep) | result for index, result in done.items()}
        rejected = results.commit(part, merged)
        journal.remove()
        return len(rows) - before, rejected

    async def _result(self, row: Cells | Malformed) -> Result:
        if isinstance(row, Malformed):
            return {"reason": str(row), "content": ""}
        answer = await self._scoring.answer(self._work.job.video(row))
        if isinstance(answer, FailedItem):
            return {"reason": answer.error.detail, "content": as_json(row)}
        return _flat(answer)


class Scoring:
    """Rows to answers, by the code that answers `/predict/batch`."""

    def __init__(self, predictor: Predictor, telemetry: Telemetry, per_host: int) -> None:
        self._predictor, self._telemetry = predictor, telemetry
        self._turns = Turns(per_host)

    @property
    def fingerprint(self) -> str:
        """What decides a score besides the row."""
        model = self._predictor.require_ready()
        return f"{model.version} {model.fingerprint}"

    async def answer(self, video: dict[str, Any]) -> PredictResponse | FailedItem:
        """The answer for one video; what the service would be to blame for is tried again."""
        tries = 0
        while True:
            async with self._turns.of(host_of(video.get("thumbnail_url"))):
                entries = score_each(self._predictor, [video], {"type": "http"}, self._telemetry)
                ((_, answer),) = [entry async for entry in entries]
            tries += 1
            if isinstance(answer, PredictResponse) or answer.error.status < SERVERS_FAULT or tries == TRIES:
                return answer
            await asyncio.sleep(tries)


class Turns:
    """So many rows of one host at once; hosts that no row waits for are forgotten."""

    def __init__(self, per_host: int) -> None:
        self._per_host = per_host
        self._taken: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, host: str) -> AsyncIterator[None]:
        """A turn at `host`; there is always one at none."""
        if not host:
            yield
            return
        semaphore, users = self._taken.get(host, (asyncio.Semaphore(self._per_host), 0))
        self._taken[host] = semaphore, users + 1
        try:
            async with semaphore:
                yield
        finally:
            semaphore, users = self._taken.pop(host)
            if users > 1:
                self._taken[host] = semaphore, users - 1


def host_of(url: Any) -> str:
    """Whom a thumbnail's URL would ask, "" when nobody."""
    try:
        return (urlsplit(url).hostname or "") if isinstance(url, str) else ""
    except ValueError:
        return ""


def under_way(count: int, done: Collection[int]) -> list[int]:
    """Of `count` rows, those that a worker had begun when it ended, as rows are begun in their order."""
    return [index for index in range(count) if index not in done][:AT_ONCE]


async def in_turn(settle: Callable[[int], Awaitable[None]], indices: Iterable[int]) -> None:
    """Settle every one of `indices`, `AT_ONCE` at a time, in their order."""
    waiting = iter(indices)

    async def work() -> None:
        for index in waiting:
            await settle(index)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


def _kept(row: Cells | Malformed, keep: Sequence[str]) -> Result:
    return {} if isinstance(row, Malformed) else {name: row[name] for name in keep}


def _flat(answer: PredictResponse) -> Result:
    """An answer as columns; a modality is its state, and after a colon the reason."""
    states = {
        name: ": ".join(filter(None, (state["state"], state["reason"])))
        for name, state in answer.modalities.model_dump().items()
    }
    figures = answer.model_dump(include={"viral_score", "predicted_velocity", "confidence", "model_version"})
    return {**figures, **states, "warnings": answer.warnings}
