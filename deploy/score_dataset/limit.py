"""What the towers alone could do with a job's own rows: nothing read, fetched, decoded or written."""

import time
from collections.abc import Sequence
from itertools import islice

import numpy as np

from deploy.cores import take_cores
from deploy.score_dataset.sources import Cells, Malformed
from deploy.score_dataset.worker import Work
from serving.generation import load_and_check
from serving.telemetry import configure_logging

SAMPLE = 256
MEASURED_S = 3.0


def towers_limit(work: Work) -> float:
    """Rows per second and core through both towers and the fusion, in full batches of the first rows.

    A row without a thumbnail costs the image tower nothing, nor does a text that was just seen.
    """
    take_cores(work.threads)
    configure_logging("json", "error")
    settings = work.settings.model_copy(update={"threads": work.threads})
    model = load_and_check(settings)
    column = work.job.fields.get("thumbnail_url", "")
    rows = _sample(work, [*work.job.fields.values()])
    texts = {(_text(work, row, "title"), _text(work, row, "description")): None for row in rows}
    tokens = sorted((model.tokenizer.encode(*text) for text in texts), key=len)
    pictures = len({row[column] for row in rows if column and row.get(column)}) if model.image_spec else 0
    size = settings.max_batch_size
    engine, spec = model.engine, model.image_spec
    passes, began = 0, time.perf_counter()
    while time.perf_counter() - began < MEASURED_S:
        for first in range(0, len(tokens), size):
            some = tokens[first : first + size]
            engine.encode_text([text.input_ids for text in some], [text.token_type_ids for text in some])
        for first in range(0, pictures, size):
            assert spec is not None, "there are pictures for a tower alone"
            engine.encode_image(np.zeros((min(size, pictures - first), spec.height, spec.width, 3), np.uint8))
        passes += 1
    return passes * len(rows) / (time.perf_counter() - began) / work.threads


def _sample(work: Work, names: Sequence[str]) -> list[Cells]:
    found: list[Cells] = []
    for part in islice(work.table.parts(work.job.part_rows), 4):
        rows = work.table.rows(part, names)
        found += [row for row in islice(rows, SAMPLE) if not isinstance(row, Malformed)]
        if len(found) >= SAMPLE:
            break
    return found[:SAMPLE]


def _text(work: Work, row: Cells, field: str) -> str:
    return str(row.get(work.job.fields.get(field, "")) or "")
