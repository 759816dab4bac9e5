"""A scoring process: the service's predictor, fed with rows instead of requests."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, fields, replace
from typing import Any

from anyio.from_thread import start_blocking_portal
from prometheus_client import CollectorRegistry

from deploy.cores import take_cores
from deploy.score_dataset.job import Job, JobError, Part
from deploy.score_dataset.kept import COUNTS, LOOK
from deploy.score_dataset.results import Journal, Result, Results
from deploy.score_dataset.sources import Cells, Malformed, Table, as_json
from serving.errors import MilesError, ModalityRequiredError
from serving.http.answers import FailedItem, PredictResponse
from serving.http.batch import checked
from serving.lifecycle.predictor import HEALTHY, Predictor, thumbnail_policy
from serving.observability.logs import configure_logging
from serving.scoring.admission import Admission
from serving.settings import Settings

AT_ONCE = 64  # concurrent rows of a process: enough to fill the batches of both towers
TRIES = 3
FATAL = "its process died while it scored only this row"
TIMEOUT_S = 600.0  # a row may have to wait for all others of the same slow thumbnail host


@dataclass(frozen=True)
class Work:
    """Everything that a worker needs; sent to its process."""

    job: Job
    table: Table
    results: Results
    settings: Settings
    threads: int
    per_host: int
    """Concurrent thumbnail downloads from one host."""
    run: str = ""
    """Identifies the run: only process deaths within one run count against a row."""


class Worker:
    """Scores parts one after another; Ray Data creates one in each process of its pool."""

    def __init__(self, work: Work) -> None:
        take_cores(work.threads)
        configure_logging("json", "error")
        self._work = work
        # Runs the service's kind of event loop in a thread for the lifetime of the process.
        self._loop = start_blocking_portal(backend_options={"use_uvloop": True})
        self._portal = self._loop.__enter__()
        self._stack = AsyncExitStack()
        self._is_open = False
        try:
            self._scoring = self._portal.call(self._open)
            work.results.pin_model(self._scoring.fingerprint)
        except BaseException:
            self._portal.call(self._stack.aclose)
            self._loop.__exit__(None, None, None)  # its thread would keep the process alive
            raise

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Score the single part in `batch` unless it is finished, and return counts of rows."""
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
                "max_queue_size": 2 * AT_ONCE,  # one client may not take all slots
                "request_timeout_s": TIMEOUT_S,
                "max_batch_size": 1 if work.job.exact else work.settings.max_batch_size,
            }
        )
        admission = Admission(settings.max_queue_size, CollectorRegistry())
        policy = replace(thumbnail_policy(settings), max_connections_per_host=work.per_host)
        failures: list[str] = []

        def on_failure(line: str) -> None:
            failures.append(line)
            if self._is_open:  # a forward hangs: Ray starts another process, which resumes from the journal
                print(line, file=sys.stderr, flush=True)
                os._exit(1)

        opened = Predictor.open(settings, admission, on_failure, policy=policy)
        predictor = await self._stack.enter_async_context(opened)
        while predictor.is_loading:  # noqa: ASYNC110  the predictor has no event to wait for
            await asyncio.sleep(0.05)
        await asyncio.sleep(0)
        if predictor.status != HEALTHY:
            raise JobError("; ".join(failures) or predictor.status)
        self._is_open = True
        return Scoring(predictor)

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
            for index in self._alone(journal, rows, done):
                await settle(index)
            await concurrently(settle, [index for index in range(len(rows)) if index not in done])
        merged = {index: _kept(rows[index], job.keep) | result for index, result in done.items()}
        rejected = results.commit(part, merged)
        journal.remove()
        return len(rows) - before, rejected

    def _alone(
        self, journal: Journal, rows: Sequence[Cells | Malformed], done: dict[int, Result]
    ) -> list[int]:
        """The rows to score one at a time: those being scored when a process died for the third time.

        If a process dies while it scores one of them, that row is rejected.
        """
        died = journal.record_attempt(self._work.run)
        alone = [index for index in journal.suspects() if index not in done]
        if alone and died:
            fatal = alone.pop(0)
            done[fatal] = _rejected(FATAL, rows[fatal])
            journal.add(fatal, done[fatal])
        elif not alone and died >= TRIES:
            alone = first_unfinished(len(rows), done)
        else:
            return alone
        journal.suspect(alone, self._work.run)
        return alone

    async def _result(self, row: Cells | Malformed) -> Result:
        if isinstance(row, Malformed):
            return _rejected(str(row), row)
        answer = await self._scoring.answer(self._work.job.video(row))
        if isinstance(answer, str):
            return _rejected(answer, row)
        return _flat(answer.response) | {LOOK: answer.look}


@dataclass(frozen=True)
class Answer:
    """An answer, and the look at the video that it is based on, as the tables of the loop have it."""

    response: PredictResponse
    look: dict[str, Any]


class Scoring:
    """Scores a row as `/predict` does, without metrics."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def fingerprint(self) -> str:
        """The model's version and fingerprint."""
        model = self._predictor.require_ready()
        return f"{model.version} {model.fingerprint}"

    async def answer(self, video: dict[str, Any]) -> "Answer | str":
        """The answer for a video, or the reason why it has none, after retrying temporary errors."""
        item = checked(video, "")
        if isinstance(item, FailedItem):
            return item.error.detail
        request, tries = item.to_domain(), 0
        while True:
            try:
                response = PredictResponse.of(await self._predictor.predict(request))
                return Answer(response, _look(request.video, response))
            except ModalityRequiredError as exc:
                return str(exc)
            except MilesError as exc:
                tries += 1
                if tries == TRIES:
                    return str(exc)
                await asyncio.sleep(tries)


def first_unfinished(count: int, done: Collection[int]) -> list[int]:
    """The rows that a worker was scoring when it died: the first unfinished ones, as rows start in order."""
    return [index for index in range(count) if index not in done][:AT_ONCE]


async def concurrently(settle: Callable[[int], Awaitable[None]], indices: Iterable[int]) -> None:
    """Call `settle` with each index, `AT_ONCE` at a time, in order."""
    waiting = iter(indices)

    async def work() -> None:
        for index in waiting:
            await settle(index)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())


def _rejected(reason: str, row: Cells | Malformed) -> Result:
    return {"reason": reason, "content": "" if isinstance(row, Malformed) else as_json(row)}


def _kept(row: Cells | Malformed, keep: Sequence[str]) -> Result:
    return {} if isinstance(row, Malformed) else {name: row[name] for name in keep}


def _look(video: Any, answer: PredictResponse) -> dict[str, Any]:
    """When the counts of a request's video were read, the counts, and the fields that were known."""
    given = {field.name for field in fields(video) if getattr(video, field.name) not in (None, "")}
    counts = {name: getattr(video, name) for name in COUNTS}
    known = sorted(given - set(answer.modalities.scalars.imputed))
    return {"observed_at": video.observed_at.isoformat(), **counts, "known": known}


def _flat(answer: PredictResponse) -> Result:
    """An answer as columns; a modality is `state` or `state: reason`."""
    states = {
        name: ": ".join(filter(None, (state["state"], state["reason"])))
        for name, state in answer.modalities.model_dump().items()
    }
    names = {"viral_score", "predicted_velocity", "confidence", "in_range", "model_version"}
    interval = answer.velocity_interval
    ends = {"velocity_low": interval and interval.low, "velocity_high": interval and interval.high}
    return {**answer.model_dump(include=names), **ends, **states, "warnings": answer.warnings}
