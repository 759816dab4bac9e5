"""Chooses each tower's precision: the fastest of int8, bf16 and f32 that passes the fidelity check."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from model.card import ModelCard
from model.checkpoint.file import CheckpointError
from model.compile.calibration_set import CalibrationInputs, Texts
from model.compile.fidelity import Judge, refusal
from model.compile.quantise import QuantiserMissingError, quantise
from model.compiled.bundle import PRECISIONS, capabilities
from model.compiled.engine import compile_graph, padded, run, run_texts
from model.engine import Pixels, Scores, Vectors

MAX_TIME_RATIO = 0.95  # a coarser precision must take less than this share of the finer one's time

STATIC = "int8-static"
"""The second int8 of a text tower, faster and coarser (`model.compile.quantise`)."""
BATCH = 8
TIMED_BATCHES = (1, 8)
ROUNDS = 15


class PrecisionError(CheckpointError):
    """The requested precision fails the fidelity check; names the limits that it misses."""


@dataclass
class Verdict:
    """One tower in one precision: figures and times for the report, the graph, and its vectors if it ran."""

    kind: str
    """f32, bf16, int8 or int8-static."""
    report: dict[str, Any]
    graph: Path
    vectors: Vectors | None = field(default=None, repr=False)

    @property
    def precision(self) -> str:
        """f32, bf16 or int8, as the graph is compiled."""
        return precision_of(self.kind)

    @property
    def passed(self) -> bool:
        return bool(self.report["passed"])

    @property
    def time(self) -> float:
        """Time relative to float32, mean of batch 1 and batch 8."""
        return float(self.report["time_batch_1"] + self.report["time_batch_8"]) / 2


class TowerCandidate:
    """A compiled text or image tower."""

    def __init__(self, tower: str, graph: Path, kind: str, threads: int) -> None:
        self.tower = tower
        self.graph = graph
        self.kind = kind
        self._request = compile_graph(ov.Core(), graph, precision_of(kind), threads)

    def vectors(self, inputs: Texts | Pixels) -> Vectors:
        """The tower's output for every input, in batches as when served, (N, dim)."""
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


def precision_of(kind: str) -> str:
    """The precision of a kind of tower: int8 for int8-static."""
    return kind.partition("-")[0]


class FusionGraph:
    """The compiled fusion, always float32: it takes a fiftieth of the time and decides the score."""

    def __init__(self, graph: Path, card: ModelCard, threads: int) -> None:
        self._request = compile_graph(ov.Core(), graph, "f32", threads)
        self._velocity = card.velocity
        self._calibration = card.calibration()

    def __call__(self, text: Vectors, image: Vectors, scalars: Vectors) -> Scores:
        """Vectors and standardised scalars of B videos to their scores; vectors of width 0 are left out."""
        vectors = {"text": text, "image": image, "scalars": scalars}
        inputs = {name: block for name, block in vectors.items() if block.shape[1]}
        viral, target = (output.astype(np.float64) for output in run(self._request, inputs))
        if self._calibration is not None:
            viral = self._calibration.apply(viral, scalars)
        return Scores(viral=viral, velocity=self._velocity.invert(target))


def relative_times(
    candidates: Sequence[TowerCandidate], inputs: Texts | Pixels
) -> Mapping[str, dict[str, float]]:
    """Per kind, the median time at batch 1 and 8 relative to float32.

    Candidates take turns within each round, so that other load on the machine slows them all alike.
    """
    if len(candidates) == 1:
        return {candidates[0].kind: {f"time_batch_{batch}": 1.0 for batch in TIMED_BATCHES}}
    times: dict[str, dict[str, float]] = {candidate.kind: {} for candidate in candidates}
    for batch in TIMED_BATCHES:
        for candidate in candidates:  # the first run of a shape prepares its kernels
            candidate.seconds(inputs, batch)
        rounds = [[candidate.seconds(inputs, batch) for candidate in candidates] for _ in range(ROUNDS)]
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        baseline = medians[[candidate.kind for candidate in candidates].index("f32")]
        for candidate, median in zip(candidates, medians, strict=True):
            times[candidate.kind][f"time_batch_{batch}"] = round(median / baseline, 3)
    return times


def judge_tower(
    tower: str, wanted: str, graph: Path, inputs: CalibrationInputs, judge: Judge, threads: int
) -> list[Verdict]:
    """A verdict on each candidate precision of `tower`, from exact to coarse.

    `graph` is the float32 graph, `<folder>/<tower>.xml`; graphs of lower precision are written beside it.
    """
    held_back = inputs.texts if tower == "text" else inputs.held_back_images
    verdicts, runnable = [], []
    for kind in kinds(tower, wanted):
        path = graph if kind == "f32" else graph.with_name(f"{tower}.{kind}.xml")
        why_not = _prepare(tower, kind, graph, inputs, path)
        verdicts.append(Verdict(kind, {"passed": False, "refused": why_not}, path))
        if why_not is None:
            runnable.append((verdicts[-1], TowerCandidate(tower, path, kind, threads)))
    times = relative_times([candidate for _, candidate in runnable], held_back)
    for verdict, candidate in runnable:
        _judge_one(verdict, candidate, held_back, judge)
        verdict.report |= times[verdict.kind]
    return verdicts


def kinds(tower: str, wanted: str) -> list[str]:
    """The kinds that `tower` is tried in, from exact to coarse, where `wanted` is a precision or auto."""
    tried = list(PRECISIONS) if wanted == "auto" else list(dict.fromkeys(("f32", wanted)))
    return [*tried, STATIC] if tower == "text" and "int8" in tried else tried


def _prepare(tower: str, kind: str, graph: Path, inputs: CalibrationInputs, target: Path) -> str | None:
    """Write the candidate's graph to `target`; returns why that is impossible, or None."""
    if kind == "bf16":
        if "BF16" not in capabilities():
            return "this processor does not compute in bf16"
        # Float16 keeps three bits more of a weight than bfloat16, and halves the file that a start checks.
        ov.save_model(ov.Core().read_model(graph), target, compress_to_fp16=True)
    if precision_of(kind) == "int8":
        try:
            quantise(tower, graph, inputs, target, static=kind == STATIC or tower == "image")
        except QuantiserMissingError as exc:
            return str(exc)
    return None


def _judge_one(verdict: Verdict, candidate: TowerCandidate, inputs: Texts | Pixels, judge: Judge) -> None:
    verdict.vectors = candidate.vectors(inputs)
    figures = judge.figures(**{candidate.tower: verdict.vectors})
    verdict.report["refused"] = refusal(figures)
    verdict.report["passed"] = verdict.report["refused"] is None
    verdict.report |= {name: _short(value) for name, value in asdict(figures).items()}


def choose(tower: str, wanted: str, verdicts: Sequence[Verdict]) -> Verdict:
    """The precision to serve. Raises `PrecisionError` if the requested one, or float32 itself, fails."""
    if not verdicts[0].passed:
        raise PrecisionError(
            f"{tower} tower: the float32 graph does not reproduce the network: "
            f"{verdicts[0].report['refused']}. Serve it with MILES_ENGINE=torch, and report this as a bug."
        )
    wanted_ones = [verdict for verdict in verdicts if wanted in ("auto", verdict.precision)]
    usable = [verdict for verdict in wanted_ones if verdict.passed]
    if not usable:
        raise PrecisionError(
            f"{tower} tower: {wanted} is refused: {wanted_ones[0].report['refused']}. "
            "Compile with --precision auto."
        )
    best = usable[0]
    for verdict in usable[1:]:
        if verdict.time < MAX_TIME_RATIO * best.time:
            best = verdict
    return best


def choose_together(
    wanted: str, verdicts: Mapping[str, list[Verdict]], judge: Judge, report: Callable[[str], None]
) -> tuple[dict[str, Verdict], dict[str, Any]]:
    """The precision of every tower, and the figures of all of them together.

    Two towers that pass separately may fail together; then the one that changes scores more falls back.
    """
    verdicts = {tower: list(candidates) for tower, candidates in verdicts.items()}
    while True:
        chosen = {tower: choose(tower, wanted, candidates) for tower, candidates in verdicts.items()}
        vectors = {tower: verdict.vectors for tower, verdict in chosen.items() if verdict.vectors is not None}
        figures = judge.figures(**vectors)
        missed = refusal(figures)
        if missed is None:
            return chosen, {name: _short(value) for name, value in asdict(figures).items()}
        worst = max(chosen, key=lambda tower: float(chosen[tower].report["viral_score_p99"]))
        if chosen[worst].kind == "f32" or (wanted != "auto" and chosen[worst].kind != STATIC):
            raise PrecisionError(f"both towers together: {wanted} is refused: {missed}.")
        report(f"both towers together fail ({missed}): {worst} falls back from {chosen[worst].kind}")
        chosen[worst].report |= {"passed": False, "refused": f"together with the other tower, {missed}"}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
