"""What the towers alone could do with a job's own rows: nothing read, fetched, decoded or written."""

import math
import time
from collections.abc import Sequence
from itertools import islice

import numpy as np

from deploy.cores import take_cores
from deploy.score_dataset.sources import Cells, Malformed
from deploy.score_dataset.worker import Work
from serving.lifecycle.instance import load_and_check
from serving.observability.metrics import configure_logging
from serving.scoring.model import LoadedModel

SAMPLE = 256
MEASURED_S = 5.0
Text = tuple[Sequence[int], Sequence[int]]


def towers_limit(work: Work, texts: float, pictures: float) -> float:
    """Rows per second and core through both towers and the fusion, in full batches of the first rows.

    For a row the towers run `texts` texts and `pictures` pictures: as many as they ran, since what is known
    costs them nothing.
    """
    take_cores(work.threads)
    configure_logging("json", "error")
    settings = work.settings.model_copy(update={"threads": work.threads})
    model = load_and_check(settings)
    rows = _sample(work, [*work.job.fields.values()])
    tokens = [
        model.tokenizer.encode(_text(work, row, "title"), _text(work, row, "description")) for row in rows
    ]
    ids = [(each.input_ids, each.token_type_ids) for each in tokens[: math.ceil(texts * len(rows))]]
    passes, began = 0, time.perf_counter()
    while time.perf_counter() - began < MEASURED_S:
        _run_once(model, settings.max_batch_size, ids, round(pictures * len(rows)), len(rows))
        passes += 1
    return passes * len(rows) / (time.perf_counter() - began) / work.threads


def _run_once(model: LoadedModel, size: int, texts: Sequence[Text], pictures: int, rows: int) -> None:
    """Both towers and the fusion in turn, as they run when rows are scored."""
    engine, spec = model.engine, model.image_spec
    text = np.zeros((size, model.card.config.text.output_dim), dtype=np.float32)
    image = np.repeat(engine.neutral_image[None], size, axis=0)
    scalars = np.zeros((size, len(model.card.scalar_features)), dtype=np.float32)
    for first in range(0, rows, size):
        if some := texts[first : first + size]:
            engine.encode_text([ids for ids, _ in some], [types for _, types in some])
        if first < pictures:
            assert spec is not None, "pictures ran in a tower"
            count = min(size, pictures - first)
            engine.encode_image(np.zeros((count, spec.height, spec.width, 3), np.uint8))
        engine.score(text, image, scalars)


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
