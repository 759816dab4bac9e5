"""Runs a job: Ray Data distributes the parts to the workers."""

import argparse
import fcntl
import logging
import os
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import pyarrow as pa
import ray

from deploy.score_dataset.job import Job, JobError, Part, fields_of
from deploy.score_dataset.postgres import Address, PostgresTable, TableOut
from deploy.score_dataset.results import SCORE, Results
from deploy.score_dataset.sources import Table, opened_table
from deploy.score_dataset.worker import Work, Worker
from serving.settings import Settings

PROGRESS_S = 10.0
STORE_BYTES = 100 * 1024 * 1024  # only counts of rows pass through Ray's object store


def score(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Finish the job and return a summary. Raises `JobError`."""
    began = time.monotonic()
    table = _table(options)
    key = table.key if isinstance(table, PostgresTable) else options.key
    if key and key not in options.keep:
        options.keep.append(key)
    job = _job(options, table)
    kept = pa.schema([table.schema.field(name) for name in options.keep])
    output, into = _output(options, key, kept)
    results = Results(output, kept, into)
    job = job.begin(output)
    with _locked(output):
        results.prepare()
        if into is not None:
            into.prepare()
            if not isinstance(table, PostgresTable):  # which checks its own keys
                into.check_keys(table)
        finished = results.finished()
        parts = list(table.parts(job.part_rows))
        rest = [part for part in parts if part.number not in finished]
        total = sum(part.rows for part in parts)
        scored = cores = 0
        if rest:
            with _cluster(options.address):
                workers = _workers(options, len(rest))
                cores = workers * options.threads
                per_host = max(1, options.per_host // workers)
                work = Work(job, table, results, settings, options.threads, per_host, uuid.uuid4().hex)
                started = time.monotonic()
                scored = _run(work, rest, workers, total)
                spent_s = time.monotonic() - started
        held, rejected = results.close()
    if held + rejected != total:
        raise JobError(
            f"{output}: contains {held} scores and {rejected} rejected rows, expected {total} in all; "
            "please report this bug"
        )
    rate = scored / spent_s / cores if rest else None
    return {
        "rows": total,
        "scored_now": scored,
        "rejected": rejected,
        "unusable_images": results.unusable_images(),
        "cores": cores,
        "seconds": round(time.monotonic() - began, 1),
        "rows_per_s_per_core": rate and round(rate, 2),
    }


def _job(options: argparse.Namespace, table: Table) -> Job:
    columns = table.schema.names
    missing = [name for name in options.keep if name not in columns]
    if missing:
        raise JobError(f"--keep {', '.join(missing)}: no such column among {columns}")
    return Job(
        str(table) if isinstance(table, PostgresTable) else str(options.input.absolute()),
        table.digest,
        fields_of(columns, options.map, thumbnails=options.thumbnails == "fetch"),
        options.keep,
        options.part_rows,
        sorted(options.require),
        options.exact,
        options.observed_at,
        str(options.output) + f" {options.table_out}" if isinstance(options.output, Address) else "",
    )


def _table(options: argparse.Namespace) -> Table:
    if isinstance(options.input, Address):
        return PostgresTable(options.input, table=options.table, query=options.query, key=options.key)
    if options.table or options.query:
        raise JobError(f"--table and --query need a database as IN, which is {options.input}")
    if options.key and not isinstance(options.output, Address):
        raise JobError("--key needs a database as IN or OUT; use --keep to copy a column of a file")
    return opened_table(options.input.absolute())


def _output(options: argparse.Namespace, key: str | None, kept: pa.Schema) -> tuple[Path, TableOut | None]:
    """The output folder, and the output table if there is one."""
    if not isinstance(options.output, Address):
        if options.table_out or options.state:
            raise JobError(f"--table-out and --state need a database as OUT, which is {options.output}")
        return options.output.absolute(), None
    if not (options.table_out and options.state and key):
        raise JobError(
            "OUT is a database: name the table (--table-out), a folder for the job's state (--state) "
            "and, if IN is a file, a unique column (--key)"
        )
    columns = pa.schema([*kept, *(pa.field(name, kind) for name, kind in SCORE.items())])
    return options.state.absolute(), TableOut.of(options.output, options.table_out, key, columns)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    """Prevent a second run of the same job. Raises `JobError`."""
    with (output / "_lock").open("w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise JobError(
                f"{output}: another run of this job is in progress; wait for it or stop it"
            ) from exc
        yield


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """The cluster at `address`, or a temporary one on this machine. Raises `JobError`."""
    logging.disable()  # errors are raised, and reported in one line
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    try:
        if address != "local":
            ray.init(address=address, **quiet)
        else:
            # Keeps Ray on the loopback interface.
            os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
            ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
            # Without "local", Ray joins the cluster that was last started on this machine.
            ray.init(
                address,
                include_dashboard=False,
                num_cpus=os.cpu_count(),
                object_store_memory=STORE_BYTES,
                **quiet,
            )
    except Exception as exc:  # Ray documents no common base class
        raise JobError(f"Ray cannot start: {exc}") from exc
    try:
        yield
    finally:
        ray.shutdown()


def _workers(options: argparse.Namespace, parts: int) -> int:
    """The number of processes: at most one per part, and as many as the cores allow. Raises `JobError`."""
    cores = float(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
    possible = int(cores) // options.threads
    if possible < (options.workers or 1):
        raise JobError(
            f"{options.workers or 1} processes of {options.threads} cores need more than the {cores:g} cores "
            "available; lower --workers or --threads"
        )
    wanted: int = options.workers or possible
    return min(wanted, parts)


def _run(work: Work, parts: list[Part], workers: int, total: int) -> int:
    """Finish `parts`; the number of rows that were scored or rejected. Raises `JobError`."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    results = ray.data.from_items(
        [asdict(part) for part in parts], override_num_blocks=min(len(parts), 10_000)
    ).map_batches(
        Worker,
        fn_constructor_args=(work,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=work.threads,
    )
    scored = rejected = 0
    done = total - sum(part.rows for part in parts)
    began = reported = time.monotonic()
    _progress(f"{total} rows, {done} already finished; {workers} processes of {work.threads} cores")
    try:
        for part in results.iter_rows():
            scored += part["scored"]
            rejected += part["rejected"]
            done += part["rows"]
            if time.monotonic() - reported >= PROGRESS_S or done == total:
                reported = time.monotonic()
                rate = scored / (reported - began)
                left_min = (total - done) / max(rate, 1e-9) / 60
                _progress(f"{done}/{total} rows, {rejected} rejected, {rate:.1f}/s, {left_min:.0f} min left")
    except ray.exceptions.RayError as exc:
        raise JobError(_cause(exc)) from exc
    return scored


def _cause(exc: BaseException) -> str:
    """The message of a worker's error, from the traceback that Ray passes on as text."""
    last = [line for line in str(exc).splitlines() if line.strip()][-1]
    return last.partition(f"{JobError.__name__}: ")[2] or f"a worker failed: {last}"


def _progress(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
