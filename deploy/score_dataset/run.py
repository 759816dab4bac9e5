"""The job as a whole: parts to workers by Ray Data, and an account of it."""

import argparse
import fcntl
import logging
import os
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import pyarrow as pa
import ray

from deploy.score_dataset.job import Job, JobError, Part, fields_of
from deploy.score_dataset.limit import towers_limit
from deploy.score_dataset.postgres import Address, PostgresTable
from deploy.score_dataset.results import SCORE, Results
from deploy.score_dataset.sources import Table, opened_table
from deploy.score_dataset.table_out import TableOut
from deploy.score_dataset.worker import Work, Worker
from serving.settings import Settings

SAID_EVERY_S = 10.0
STORE_BYTES = 100 * 1024 * 1024  # accounts of parts alone pass through Ray's store, never rows


def score(asked: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Finish the job; what became of it. Raises `JobError`."""
    began = time.monotonic()
    table = _table(asked)
    key = table.key if isinstance(table, PostgresTable) else asked.key
    if key and key not in asked.keep:
        asked.keep.append(key)
    job = _job(asked, table)
    kept = pa.schema([table.schema.field(name) for name in asked.keep])
    output, into = _output(asked, key, kept)
    results = Results(output, kept, into)
    job = job.begin(output)
    with _alone(output):
        results.prepare()
        if into is not None:
            into.prepare()
            if not isinstance(table, PostgresTable):  # which has looked at its own keys
                into.check_keys(table)
        finished = results.finished()
        parts = list(table.parts(job.part_rows))
        rest = [part for part in parts if part.number not in finished]
        total = sum(part.rows for part in parts)
        ran, cores, limit = Ran(), 0, None
        if rest:
            with _cluster(asked.address):
                workers = _workers(asked, len(rest))
                cores = workers * asked.threads
                per_host = max(1, asked.per_host // workers)
                work = Work(job, table, results, settings, asked.threads, per_host, uuid.uuid4().hex)
                loaded = time.monotonic()
                ran = _run(work, rest, workers, total)
                spent_s = time.monotonic() - loaded
                if not asked.no_limit and ran.scored:
                    limit = _measured(work, workers, ran)
        held, rejected = results.close()
    if held + rejected != total:
        raise JobError(f"{output}: holds {held} scores and {rejected} rows set aside of {total}; report this")
    rate = ran.scored / spent_s / cores if rest else None
    return {
        "rows": total,
        "scored_now": ran.scored,
        "rejected": rejected,
        "cores": cores,
        "seconds": round(time.monotonic() - began, 1),
        "rows_per_s_per_core": rate and round(rate, 2),
        "towers_limit_rows_per_s_per_core": limit and round(limit, 2),
    }


def _job(asked: argparse.Namespace, table: Table) -> Job:
    columns = table.schema.names
    lacking = [name for name in asked.keep if name not in columns]
    if lacking:
        raise JobError(f"--keep {', '.join(lacking)}: no such column among {columns}")
    return Job(
        str(table) if isinstance(table, PostgresTable) else str(asked.input.absolute()),
        table.digest,
        fields_of(columns, asked.map, thumbnails=asked.thumbnails == "fetch"),
        asked.keep,
        asked.part_rows,
        sorted(asked.require),
        asked.exact,
        asked.observed_at,
        str(asked.output) + f" {asked.table_out}" if isinstance(asked.output, Address) else "",
    )


def _table(asked: argparse.Namespace) -> Table:
    if isinstance(asked.input, Address):
        return PostgresTable(asked.input, table=asked.table, query=asked.query, key=asked.key)
    if asked.table or asked.query:
        raise JobError(f"--table and --query are for a database; IN is {asked.input}")
    if asked.key and not isinstance(asked.output, Address):
        raise JobError("--key is for a database, IN or OUT; a column of a file is copied by --keep")
    return opened_table(asked.input.absolute())


def _output(asked: argparse.Namespace, key: str | None, kept: pa.Schema) -> tuple[Path, TableOut | None]:
    """The folder, and the table if there is one."""
    if not isinstance(asked.output, Address):
        if asked.table_out or asked.state:
            raise JobError(f"--table-out and --state are for a database; OUT is {asked.output}")
        return asked.output.absolute(), None
    if not (asked.table_out and asked.state and key):
        raise JobError(
            "OUT is a database: name the table (--table-out), a folder for what is under way (--state), "
            "and, when IN is files, the column that tells rows apart (--key)"
        )
    columns = pa.schema([*kept, *(pa.field(name, kind) for name, kind in SCORE.items())])
    return asked.state.absolute(), TableOut.of(asked.output, asked.table_out, key, columns)


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Two runs of one job at once would do everything twice."""
    with (output / "_lock").open("w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise JobError(f"{output}: another run is at work here; wait for it or stop it") from exc
        yield


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """The cluster at `address`, or one of this machine alone for as long as this lasts."""
    logging.disable()  # what failed is raised, and said in one line of ours
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        if address != "local":
            ray.init(address=address, **quiet)
        else:
            # Ray's name for a cluster that stays within this machine, on the loopback interface.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
            # Without "local" Ray joins whatever cluster was started on this machine last.
            ray.init(
                address,
                include_dashboard=False,
                num_cpus=os.cpu_count(),
                object_store_memory=STORE_BYTES,
                **quiet,
            )
    except Exception as exc:  # Ray raises whatever its parts do
        raise JobError(f"Ray does not start: {exc}") from exc
    try:
        yield
    finally:
        ray.shutdown()


def _workers(asked: argparse.Namespace, parts: int) -> int:
    """How many processes: never more than there are parts, or cores for."""
    has = float(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    room = int(has) // asked.threads
    if room < (asked.workers or 1):
        raise JobError(
            f"{asked.workers or 1} processes of {asked.threads} cores do not fit on {has:g}; "
            "lower --workers or --threads"
        )
    wanted: int = asked.workers or room
    return min(wanted, parts)


@dataclass
class Ran:
    """What was done: rows, those of an earlier run's journal left out, and what the towers ran for them."""

    scored: int = 0
    rejected: int = 0
    texts: int = 0
    pictures: int = 0

    def add(self, account: Mapping[str, int]) -> None:
        """A part's."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + account[field.name])


def _run(work: Work, parts: list[Part], workers: int, total: int) -> Ran:
    """Finish `parts`."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    accounts = ray.data.from_items(
        [asdict(part) for part in parts], override_num_blocks=min(len(parts), 10_000)
    ).map_batches(
        Worker,
        fn_constructor_args=(work,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=work.threads,
    )
    ran = Ran()
    done = total - sum(part.rows for part in parts)
    began = said = time.monotonic()
    _say(f"{total} rows, {done} finished before; {workers} processes of {work.threads} cores")
    try:
        for account in accounts.iter_rows():
            ran.add(account)
            done += account["rows"]
            if time.monotonic() - said >= SAID_EVERY_S or done == total:
                said = time.monotonic()
                rate = ran.scored / (said - began)
                left_s = (total - done) / max(rate, 1e-9)
                _say(
                    f"{done}/{total} rows, {ran.rejected} set aside, {rate:.1f}/s, {left_s / 60:.0f} min left"
                )
    except ray.exceptions.RayError as exc:
        raise JobError(_cause(exc)) from exc
    return ran


def _measured(work: Work, workers: int, ran: Ran) -> float:
    """By as many processes at once as scored: cores that are all busy do less each than one alone."""
    texts, pictures = ran.texts / ran.scored, ran.pictures / ran.scored
    measure = ray.remote(num_cpus=work.threads)(towers_limit)
    limits: list[float] = ray.get([measure.remote(work, texts, pictures) for _ in range(workers)])
    return sum(limits) / workers


def _cause(exc: BaseException) -> str:
    """What a worker raised, without the way there; Ray hands its traceback on as text."""
    last = [line for line in str(exc).splitlines() if line.strip()][-1]
    return last.partition(f"{JobError.__name__}: ")[2] or f"a worker failed: {last}"


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
