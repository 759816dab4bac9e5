"""Chooses each tower's precision: the fastest of int8, bf16 and f32 that passes the fidelity gate here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import openvino as ov

from model.checkpoint.file import CheckpointError
from model.compile.calibration_set import CalibrationInputs, Texts
from model.compile.candidates import TowerCandidate, relative_times
from model.compile.fidelity import Judge, refusal
from model.compile.quantise import QuantiserMissingError, quantise
from model.compiled.bundle import PRECISIONS
from model.compiled.origin import capabilities
from model.engine import Pixels, Vectors

WORTHWHILE = 0.95  # a coarser precision must take less than this share of the finer one's time


class PrecisionError(CheckpointError):
    """A precision that was asked for and cannot be had, with the figures that it misses."""


@dataclass
class Verdict:
    """One tower in one precision: figures and times for the report, the graph and its vectors if it ran."""

    precision: str
    report: dict[str, Any]
    graph: Path
    vectors: Vectors | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """Whether the gate let it through."""
        return bool(self.report["passed"])

    @property
    def time(self) -> float:
        """Time over float32's, batch 1 and batch 8 alike."""
        return float(self.report["time_batch_1"] + self.report["time_batch_8"]) / 2


def judge_tower(
    tower: str, wanted: str, graph: Path, inputs: CalibrationInputs, judge: Judge, threads: int
) -> list[Verdict]:
    """A verdict on every candidate for `tower` when `wanted` is asked, from exact to coarse.

    `graph` is the float32 graph, `<folder>/<tower>.xml`; those of lower precision are written beside it.
    """
    held_back = inputs.held_back_texts if tower == "text" else inputs.held_back_images
    verdicts, runnable = [], []
    for precision in PRECISIONS if wanted == "auto" else dict.fromkeys(("f32", wanted)):
        path = graph if precision == "f32" else graph.with_name(f"{tower}.{precision}.xml")
        why_not = _prepare(tower, precision, graph, inputs, path)
        verdicts.append(Verdict(precision, {"passed": False, "refused": why_not}, path))
        if why_not is None:
            runnable.append((verdicts[-1], TowerCandidate(tower, path, precision, threads)))
    times = relative_times([candidate for _, candidate in runnable], held_back)
    for verdict, candidate in runnable:
        _judge_one(verdict, candidate, held_back, judge)
        verdict.report |= times[verdict.precision]
    return verdicts


def _prepare(tower: str, precision: str, graph: Path, inputs: CalibrationInputs, target: Path) -> str | None:
    """Write the candidate's graph to `target`; why it cannot be had, or None."""
    if precision == "bf16":
        if "BF16" not in capabilities():
            return "this processor does not compute in bf16"
        # Float16 keeps three bits more of a weight than the bfloat16 that computes with it, and halves the
        # file: what a start has to check, and what is held in memory.
        ov.save_model(ov.Core().read_model(graph), target, compress_to_fp16=True)
    if precision == "int8":
        try:
            quantise(tower, graph, inputs, target)
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
    """The precision to serve. Raises `PrecisionError` when what was asked, or float32 itself, misses."""
    if not verdicts[0].passed:
        raise PrecisionError(
            f"{tower} tower: compiled in float32 it does not answer as the network does: "
            f"{verdicts[0].report['refused']}. Serve it with MILES_ENGINE=torch, and report this."
        )
    if wanted != "auto":
        asked = verdicts[-1]
        if not asked.passed:
            raise PrecisionError(
                f"{tower} tower: {wanted} is refused: {asked.report['refused']}. "
                "Compile with --precision auto."
            )
        return asked
    best = verdicts[0]
    for verdict in verdicts[1:]:
        if verdict.passed and verdict.time < WORTHWHILE * best.time:
            best = verdict
    return best


def choose_together(
    wanted: str, verdicts: Mapping[str, list[Verdict]], judge: Judge, say: Callable[[str], None]
) -> tuple[dict[str, Verdict], dict[str, Any]]:
    """The precision of every tower, and the figures of all of them at once.

    Two changes that pass alone may miss together; then the tower that moves scores more falls back.
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
        if wanted != "auto" or chosen[worst].precision == "f32":
            raise PrecisionError(f"both towers together: {wanted} is refused: {missed}.")
        say(f"both towers together miss ({missed}): {worst} falls back from {chosen[worst].precision}")
        chosen[worst].report |= {"passed": False, "refused": f"together with the other tower, {missed}"}


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
