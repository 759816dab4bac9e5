"""One tower in one precision, run as it will be served: measured for speed, asked for its vectors."""

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import openvino as ov

from model.compile.calibration_set import Texts
from model.compiled.engine import compile_graph, padded, run, run_texts
from model.engine import Pixels, Scores, Vectors
from model.velocity import Velocity

BATCH = 8
TIMED_BATCHES = (1, 8)
ROUNDS = 15


class TowerCandidate:
    """A compiled text or image tower."""

    def __init__(self, tower: str, graph: Path, precision: str, threads: int) -> None:
        self.tower = tower
        self.graph = graph
        self.precision = precision
        self._request = compile_graph(ov.Core(), graph, precision, threads)

    def vectors(self, inputs: Texts | Pixels) -> Vectors:
        """What the tower says of every input, in batches as a service would run them, (N, dim)."""
        batches = [self._encode(inputs, start, BATCH) for start in range(0, len(inputs), BATCH)]
        return np.concatenate(batches)

    def seconds(self, inputs: Texts | Pixels, batch: int) -> float:
        """Wall time of one forward over the first `batch` inputs."""
        start = time.perf_counter()
        self._encode(inputs, 0, batch)
        return time.perf_counter() - start

    def _encode(self, inputs: Texts | Pixels, start: int, count: int) -> Vectors:
        if isinstance(inputs, Texts):
            ids, types = (
                column[start : start + count] for column in (inputs.input_ids, inputs.token_type_ids)
            )
            return run_texts(self._request, ids, types)
        pixels = inputs[start : start + count]
        return run(self._request, {"pixels": padded(pixels)})[0][: len(pixels)]


class FusionGraph:
    """The compiled fusion, float32 always: it takes a fiftieth of the time and decides the score."""

    def __init__(self, graph: Path, velocity: Velocity, threads: int) -> None:
        self._request = compile_graph(ov.Core(), graph, "f32", threads)
        self._velocity = velocity

    def __call__(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Vectors and standardised scalars of B videos to their scores; an image of width 0 is none."""
        inputs = {"text": text, "image": image, "scalars": scalars}
        if not image.shape[1]:
            del inputs["image"]
        viral, target = run(self._request, inputs)
        return Scores(
            viral=viral.astype(np.float64), velocity=self._velocity.invert(target.astype(np.float64))
        )


def relative_times(
    candidates: Sequence[TowerCandidate], inputs: Texts | Pixels
) -> Mapping[str, dict[str, float]]:
    """Per precision, median time at batch 1 and 8 over float32's: ratios hold on a machine that is shared.

    Candidates take turns within each round, so that whatever else the machine does slows all of them.
    """
    if len(candidates) == 1:
        return {candidates[0].precision: {f"time_batch_{batch}": 1.0 for batch in TIMED_BATCHES}}
    times: dict[str, dict[str, float]] = {candidate.precision: {} for candidate in candidates}
    for batch in TIMED_BATCHES:
        for candidate in candidates:  # the first run of a shape prepares its kernels
            candidate.seconds(inputs, batch)
        rounds = [[candidate.seconds(inputs, batch) for candidate in candidates] for _ in range(ROUNDS)]
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        baseline = medians[[candidate.precision for candidate in candidates].index("f32")]
        for candidate, median in zip(candidates, medians, strict=True):
            times[candidate.precision][f"time_batch_{batch}"] = round(median / baseline, 3)
    return times
