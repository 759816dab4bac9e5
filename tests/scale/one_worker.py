"""One scoring process without Ray that finishes one part; a child, because it binds itself to cores."""

import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from ipaddress import IPv4Network
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
import pyarrow as pa

from deploy.score_dataset.job import Job, Part, fields_of
from deploy.score_dataset.postgres import TableOut
from deploy.score_dataset.results import Results
from deploy.score_dataset.sources import opened_table
from deploy.score_dataset.worker import Work, Worker
from serving.settings import Settings
from tests.scale.dataset import COLUMNS, LIMIT_S

OBSERVED = "2018-03-01T00:00:00+00:00"
PART_ROWS = 1000
PATIENCE_S = 60


def prepared(
    source: Path,
    output: Path,
    model: Path,
    per_host: int = 16,
    into: TableOut | None = None,
    *,
    exact: bool = False,
) -> Work:
    table = opened_table(source)
    fields = fields_of(COLUMNS, ["title=Headline"], thumbnails=True)
    kept = ["id"]
    job = Job(str(source), table.digest, fields, kept, PART_ROWS, [], exact, OBSERVED).begin(output)
    results = Results(output, pa.schema([(name, pa.string()) for name in kept]), into)
    results.prepare()
    networks = (IPv4Network("127.0.0.0/8"),)
    settings = Settings(checkpoint=str(model), threads=1, thumbnail_trusted_networks=networks)
    return Work(job, table, results, settings, 1, per_host, "this")


def begun(work: Work) -> BaseProcess:
    (part,) = work.table.parts(PART_ROWS)
    process = multiprocessing.get_context("spawn").Process(target=_finish, args=(work, part))
    process.start()
    return process


def in_a_process(work: Work) -> None:
    """Finish the only part."""
    process = begun(work)
    process.join(LIMIT_S)
    assert process.exitcode == 0


def killed_when(work: Work, holds: Callable[[], bool]) -> None:
    process, deadline = begun(work), time.monotonic() + PATIENCE_S
    try:
        while not holds():
            assert process.exitcode is None, "it ended before"
            assert time.monotonic() < deadline, "it never holds"
            process.join(0.005)
    finally:
        process.kill()
        process.join(LIMIT_S)


def forward_sizes(work: Work) -> set[int]:
    """Finish the only part; the sizes, in videos, of all steps' forwards."""
    context = multiprocessing.get_context("spawn")
    sizes: SimpleQueue[set[int]] = context.SimpleQueue()
    (part,) = work.table.parts(PART_ROWS)
    process = context.Process(target=_finish, args=(work, part, sizes))
    process.start()
    process.join(LIMIT_S)
    assert process.exitcode == 0
    return sizes.get()


def _finish(work: Work, part: Part, sizes: "SimpleQueue[set[int]] | None" = None) -> None:
    worker = Worker(work)
    worker({name: np.array([value]) for name, value in asdict(part).items()})
    if sizes is not None:
        pipeline = worker._scoring._predictor.pipeline
        assert pipeline is not None, "it has scored"
        sizes.put({size for queue in pipeline.queues.values() for size in queue.batches})
    os._exit(0)
