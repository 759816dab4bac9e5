"""Compiles a checkpoint into three OpenVINO graphs that serve without torch.

    python -m model.compile                        models/model_full.pt, in the fastest faithful precision
    python -m model.compile my.pt --precision f32  float32, whatever it costs

Each tower is exported, quantised, timed on this processor and judged against the float32 network on inputs
that quantisation has not seen. What misses the fidelity gate falls back, and the bundle's report says so. A
bundle that is up to date is left alone; a compile that fails leaves nothing.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.checkpoint.file import CheckpointError, LocationError, locate_checkpoint
from model.compile.calibration_set import (
    TITLES,
    CalibrationInputs,
    calibration_inputs,
    calibration_sha256,
    draw_scalars,
)
from model.compile.fidelity import HIGHEST, LOWEST, ROWS, Judge, Vectored, rows_of
from model.compile.precision import FusionGraph, Verdict, choose_together, judge_tower
from model.compiled.bundle import Bundle, bundle_directory, current_bundle, origin_of, write_manifest

if TYPE_CHECKING:
    from model.checkpoint.store import Checkpoint
    from model.torch_engine import TorchEngine

DEFAULT = Path("models/model_full.pt")
CHOICES = ("auto", "f32", "bf16", "int8")


def compile_checkpoint(
    checkpoint: Path,
    out: Path | None = None,
    precision: str = "auto",
    titles: Path = TITLES,
    threads: int | None = None,
) -> Bundle:
    """The bundle of `checkpoint`, in `out` or beside it: what is there if it is up to date, or a new one.

    `threads` is what a forward may use while candidates are timed; by default every processor that this
    process may run on. Raises `CheckpointError`.
    """
    origin = origin_of(checkpoint, precision)
    origin["calibration_sha256"] = calibration_sha256(titles)
    target = out or bundle_directory(checkpoint, origin["checkpoint_sha256"])
    found = current_bundle(target, origin)
    if found is not None:
        _say(f"{target}: is up to date ({summary(found)})")
        return found
    _check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-", suffix=".partial") as work:
        made = _compile_into(Path(work), checkpoint, origin, titles, threads or _processors())
        _put_in_place(made.directory, target)
    bundle = Bundle(target, made.card, made.precision, made.neutral_image, made.report)
    _say(table(bundle))
    return bundle


def _compile_into(work: Path, path: Path, origin: dict[str, Any], titles: Path, threads: int) -> Bundle:
    """A whole bundle in `work`/bundle."""
    started = time.perf_counter()
    _say(f"{path}: reading")
    checkpoint, reference = _reference(path, threads)
    card = checkpoint.card
    inputs = calibration_inputs(card, titles)
    neutral = reference.neutral_image
    _say("asking the float32 network for its answers")
    judge = _judge(checkpoint, reference, inputs)
    _say("exporting the towers")
    towers = _export(checkpoint, work)
    del reference, checkpoint  # half a gigabyte each, and the graphs are on disk
    judge.fuse = FusionGraph(work / "fusion.xml", card.velocity, threads)
    wanted = origin["precision"]
    verdicts = {}
    for tower in towers[:-1]:
        _say(f"{tower} tower: trying {'f32, bf16 and int8' if wanted == 'auto' else wanted}")
        verdicts[tower] = judge_tower(tower, wanted, work / f"{tower}.xml", inputs, judge, threads)
    chosen, together = choose_together(wanted, verdicts, judge, _say)
    report = {
        "origin": origin,
        "threads": threads,
        "calibration": inputs.sources,
        "limits": {"at_most": HIGHEST, "at_least": LOWEST},
        "towers": {
            tower: {
                "chosen": chosen[tower].precision,
                "candidates": {verdict.precision: verdict.report for verdict in verdicts[tower]},
            }
            for tower in chosen
        },
        "together": together,
        "seconds": round(time.perf_counter() - started, 1),
    }
    directory = _gather(work, chosen)
    precision = {tower: verdict.precision for tower, verdict in chosen.items()} | {"fusion": "f32"}
    bundle = Bundle(directory, card, precision, neutral, report)
    write_manifest(bundle)
    return bundle


def _reference(path: Path, threads: int) -> tuple["Checkpoint", "TorchEngine"]:
    """The checkpoint and the network that it describes, in torch."""
    # Lazily: finding a bundle up to date takes a fraction of what importing torch does.
    try:
        from model.checkpoint.store import read_checkpoint
        from model.torch_engine import TorchEngine
    except ImportError as exc:
        raise CheckpointError(
            f"{path}: is not compiled, and {exc.name} is not installed here to do it. Run `python -m "
            "model.compile` where requirements.txt is installed, and bring models/compiled along."
        ) from exc
    checkpoint = read_checkpoint(path)
    return checkpoint, TorchEngine(checkpoint, threads=threads)


def _judge(checkpoint: "Checkpoint", reference: "TorchEngine", inputs: CalibrationInputs) -> Judge:
    """A judge who knows the float32 answers to all held-back inputs; its fusion is set once compiled."""
    texts, images = inputs.held_back_texts, inputs.held_back_images
    text = [
        reference.encode_text(texts.input_ids[start : start + 1], texts.token_type_ids[start : start + 1])
        for start in range(len(texts))
    ]
    image = [reference.encode_image(images[start : start + 8]) for start in range(0, len(images), 8)]
    width = checkpoint.card.config.image_dim
    vectored = Vectored(
        text=np.concatenate(text),
        image=np.concatenate(image) if image else np.zeros((0, width), dtype=np.float32),
    )
    card = checkpoint.card
    scalars = draw_scalars(card, ROWS)
    scores = reference.score(*rows_of(vectored, ROWS), scalars)
    return Judge(vectored, scalars, scores, reference.score, card.velocity)


def _export(checkpoint: "Checkpoint", directory: Path) -> list[str]:
    from model.compile.export import export_towers

    return export_towers(checkpoint.build_model(), checkpoint.card.temperature or 1.0, directory)


def _gather(work: Path, chosen: Mapping[str, Verdict]) -> Path:
    """Move the chosen graphs into one folder under their towers' names."""
    directory = work / "bundle"
    directory.mkdir()
    graphs = {tower: verdict.graph for tower, verdict in chosen.items()} | {"fusion": work / "fusion.xml"}
    for tower, graph in graphs.items():
        for suffix in (".xml", ".bin"):
            graph.with_suffix(suffix).replace(directory / f"{tower}{suffix}")
    return directory


def _check_target(target: Path) -> None:
    """An earlier bundle is replaced; anything else that is there stays."""
    if target.exists() and not target.is_dir():
        raise CheckpointError(f"{target}: is a file, expected a directory for the bundle; name another --out")
    strangers = sorted(
        path.name
        for path in (target.iterdir() if target.exists() else ())
        if path.name != "bundle.json" and path.suffix not in (".xml", ".bin")
    )
    if strangers:
        raise CheckpointError(f"{target}: holds {strangers[0]}, which is no bundle's; name another --out")


def _put_in_place(made: Path, target: Path) -> None:
    """Move a whole bundle to where it is looked for; an earlier one gives way at the last moment."""
    made.chmod(0o755)
    if target.exists():
        shutil.move(target, made.parent / "earlier")
    made.replace(target)


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _say(message: str) -> None:
    print(message, flush=True)


def table(bundle: Bundle) -> str:
    """The report for people: a line per tower and candidate."""
    lines = [
        f"{bundle.directory}: {summary(bundle)}, compiled in {bundle.report['seconds']:.0f} s",
        f"  {'tower':6} {'as':5} {'time at batch 1, 8':>18} {'score p99':>10} {'max':>8} {'spearman':>9} "
        f"{'velocity p99':>12} {'cosine p1':>10} {'variance':>9}",
    ]
    for tower, said in bundle.report["towers"].items():
        for precision, figures in said["candidates"].items():
            mark = "*" if precision == said["chosen"] else " "
            lines.append(f"{mark} {tower:6} {precision:5} {_figures(figures)}")
            if figures["refused"]:
                lines.append(f"  {tower:6} {precision:5} refused: {figures['refused']}")
    lines.append(f"  together{'':24} {_scores(bundle.report['together'])}")
    lines.append("* is served; times are ratios to f32 on this processor. The fusion is always f32.")
    return "\n".join(lines)


def _figures(figures: Mapping[str, Any]) -> str:
    if "viral_score_p99" not in figures:
        return ""
    times = f"{figures['time_batch_1']:.2f}, {figures['time_batch_8']:.2f}"
    vectors = f"{figures['vector_cosine_p1']:10.5f} {figures['vector_variance_kept']:9.5f}"
    return f"{times:>18} {_scores(figures)} {vectors}"


def _scores(figures: Mapping[str, Any]) -> str:
    return (
        f"{figures['viral_score_p99']:10.6f} {figures['viral_score_max']:8.5f} "
        f"{figures['spearman']:9.6f} {figures['velocity_p99']:12.6f}"
    )


def summary(bundle: Bundle) -> str:
    """The precision of each tower."""
    return ", ".join(f"{tower} {precision}" for tower, precision in bundle.precision.items())


def main(arguments: list[str] | None = None) -> int:
    """Compile; the exit status is 1 after an error, which goes to stderr in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m model.compile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        default=str(DEFAULT),
        help=f"a path or hf://owner/repo/file; default: {DEFAULT}",
    )
    parser.add_argument("--out", type=Path, help="the bundle's directory; default: beside the checkpoint")
    parser.add_argument("--precision", choices=CHOICES, default="auto", help="of both towers; default: auto")
    parser.add_argument(
        "--titles",
        type=Path,
        default=TITLES,
        help="calibration titles, one per line, a description after a tab; default: the bundled ones",
    )
    parser.add_argument("--threads", type=int, help="threads of a forward; default: all that may be used")
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads is {options.threads}, expected 1 or more")
    # So that a compile which is told to stop also takes its unfinished files along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        compile_checkpoint(
            locate_checkpoint(options.checkpoint),
            options.out,
            options.precision,
            options.titles,
            options.threads,
        )
    except (CheckpointError, LocationError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
