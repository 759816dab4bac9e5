"""Compiles a checkpoint into OpenVINO graphs that are served without torch.

    ./miles compile                        models/model_full.pt, at the fastest faithful precision
    ./miles compile my.pt --precision f32  at full precision

Each tower is exported, quantised, timed on this processor and compared with the float32 network on inputs
that quantisation has not seen. A precision that fails the fidelity check is not used; the bundle's report
says why. A bundle that is up to date is kept, and a failed compile leaves nothing behind.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.checkpoint.file import (
    DEFAULT_CHECKPOINT,
    CheckpointError,
    LocationError,
    check_file,
    locate_checkpoint,
)
from model.compile.calibration_set import (
    TITLES,
    CalibrationInputs,
    calibration_inputs,
    calibration_sha256,
    draw_scalars,
)
from model.compile.fidelity import MAXIMA, MINIMA, ROWS, Judge, TowerVectors, rows_of
from model.compile.precision import FusionGraph, Verdict, choose_together, judge_tower
from model.compiled.bundle import Bundle, current_bundle, origin_of, write_manifest
from model.compiled.files import CHECKED, MANIFEST, bundle_directory

if TYPE_CHECKING:
    from model.checkpoint.store import Checkpoint
    from model.torch_engine import TorchEngine

CHOICES = ("auto", "f32", "bf16", "int8")
MIN_FREE_BYTES = 1 << 20
_print = partial(print, flush=True)


def compile_checkpoint(
    checkpoint: Path,
    out: Path | None = None,
    precision: str = "auto",
    titles: Path = TITLES,
    threads: int | None = None,
) -> Bundle:
    """The bundle of `checkpoint`, in `out` or beside it: the existing one if it is up to date, or a new one.

    `threads` is the number of threads per forward while candidates are timed; by default one per usable
    processor. Raises `CheckpointError`.
    """
    sha256 = check_file(checkpoint, None)
    origin = origin_of(checkpoint, sha256, precision) | {"calibration_sha256": calibration_sha256(titles)}
    target = out or bundle_directory(checkpoint, sha256)
    found = current_bundle(target, origin, checkpoint)
    if found is not None:
        _print(f"{target}: is up to date ({summary(found)})")
        return found
    _check_target(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-", suffix=".partial") as work:
        processors = len(os.sched_getaffinity(0))
        try:
            made = _compile_into(Path(work), checkpoint, origin, titles, threads or processors)
        except RuntimeError as exc:  # OpenVINO's only error for a file that it can't write
            free = shutil.disk_usage(work).free
            if free > MIN_FREE_BYTES:
                raise
            raise CheckpointError(
                f"{target.parent}: no space left on the disk ({free} bytes); compiling {checkpoint} takes "
                f"about three times its {checkpoint.stat().st_size} bytes. Free some, or use another disk."
            ) from exc
        _replace(target, made.directory)
    bundle = Bundle(target, made.card, made.precision, made.neutral_image, made.report)
    _print(table(bundle))
    return bundle


def _compile_into(work: Path, path: Path, origin: dict[str, Any], titles: Path, threads: int) -> Bundle:
    """A complete bundle in `work`/bundle."""
    started = time.perf_counter()
    _print(f"{path}: reading")
    checkpoint, reference = _reference(path, threads)
    card, neutral = checkpoint.card, reference.neutral_image
    inputs = calibration_inputs(card, titles)
    _print("running the float32 network on the held-back inputs")
    judge = _judge(checkpoint, reference, inputs)
    _print("exporting the towers")
    # These import torch, as _reference does.
    from model.compile.export import export_towers
    from model.compile.folding import fold_identity_layers

    folded, left_out = fold_identity_layers(checkpoint)
    if left_out:
        _print(f"text tower: {left_out} layers compute nothing and are left out")
    towers = export_towers(folded.build_model(), None if card.patterns else card.temperature or 1.0, work)
    del reference, checkpoint, folded  # half a gigabyte each, and the graphs are on disk
    judge.fuse = FusionGraph(work / "fusion.xml", card, threads)
    wanted, verdicts = origin["precision"], {}
    for tower in towers[:-1]:
        _print(f"{tower} tower: trying {'f32, bf16 and int8' if wanted == 'auto' else wanted}")
        verdicts[tower] = judge_tower(tower, wanted, work / f"{tower}.xml", inputs, judge, threads)
    chosen, together = choose_together(wanted, verdicts, judge, _print)
    report = {
        "origin": origin,
        "threads": threads,
        "calibration": inputs.sources,
        "text_layers_left_out": left_out,
        "limits": {"at_most": MAXIMA, "at_least": MINIMA},
        "towers": {
            tower: {
                "chosen": chosen[tower].kind,
                "candidates": {verdict.kind: verdict.report for verdict in verdicts[tower]},
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
    """The checkpoint and its network in torch, imported here: an up-to-date bundle needs no torch."""
    try:
        from model.checkpoint.store import read_checkpoint
        from model.torch_engine import TorchEngine
    except ImportError as exc:
        raise CheckpointError(
            f"{path}: not compiled, and {exc.name} is not installed. Run `./miles compile` in an "
            "environment with requirements.txt, then copy models/compiled here."
        ) from exc
    checkpoint = read_checkpoint(path)
    return checkpoint, TorchEngine(checkpoint, threads=threads)


def _judge(checkpoint: "Checkpoint", reference: "TorchEngine", inputs: CalibrationInputs) -> Judge:
    """A judge with the float32 answers to all held-back inputs; `fuse` is replaced by the compiled fusion."""
    card, texts, images = checkpoint.card, inputs.texts, inputs.held_back_images
    text = [
        reference.encode_text([ids], [types])
        for ids, types in zip(texts.input_ids, texts.token_type_ids, strict=True)
    ]
    image = [reference.encode_image(images[start : start + 8]) for start in range(0, len(images), 8)]
    none = np.zeros((0, card.config.image_dim), dtype=np.float32)
    vectors = TowerVectors(np.concatenate(text), np.concatenate(image) if image else none)
    scalars = draw_scalars(card, ROWS)
    scores = reference.score(*rows_of(vectors, ROWS), scalars)
    return Judge(vectors, scalars, scores, reference.score, card.velocity)


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
    """Refuse to replace anything but an earlier bundle."""
    if target.exists() and not target.is_dir():
        raise CheckpointError(f"{target}: is a file, expected a bundle directory; choose another --out")
    others = sorted(
        path.name
        for path in (target.iterdir() if target.exists() else ())
        if path.name not in (MANIFEST, CHECKED) and path.suffix not in (".xml", ".bin")
    )
    if others:
        raise CheckpointError(f"{target}: contains {others[0]}, not part of a bundle; choose another --out")


def _replace(target: Path, made: Path) -> None:
    """Move a complete bundle to `target`; an earlier one is moved away at the last moment."""
    made.chmod(0o755)
    if target.exists():
        shutil.move(target, made.parent / "earlier")
    made.replace(target)


def table(bundle: Bundle) -> str:
    """The report for people: a line per tower and candidate."""
    lines = [
        f"{bundle.directory}: {summary(bundle)}, compiled in {bundle.report['seconds']:.0f} s",
        f"  {'tower':6} {'as':11} {'time at batch 1, 8':>18} {'score p99':>10} {'max':>8} {'spearman':>9} "
        f"{'velocity p99':>12} {'cosine p1':>10} {'variance':>9}",
    ]
    for tower, tried in bundle.report["towers"].items():
        for kind, figures in tried["candidates"].items():
            mark = "*" if kind == tried["chosen"] else " "
            lines.append(f"{mark} {tower:6} {kind:11} {_figures(figures)}")
            if figures["refused"]:
                lines.append(f"  {tower:6} {kind:11} refused: {figures['refused']}")
    lines.append(f"  together{'':30} {_scores(bundle.report['together'])}")
    lines.append("* is served; times are relative to f32 on this processor. The fusion is always f32.")
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
    """Compile; exit status 1 after an error, which is one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="./miles compile",
        usage="%(prog)s [OPTIONS] [CHECKPOINT]   (--help lists them)",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "checkpoint",
        nargs="?",
        default=str(DEFAULT_CHECKPOINT),
        help="path or hf:// address (default: %(default)s)",
    )
    add("--out", type=Path, help="directory for the bundle (default: compiled/ beside the checkpoint)")
    add(
        "--precision",
        choices=CHOICES,
        default="auto",
        help="of both towers; auto chooses the fastest faithful one for each (default: %(default)s)",
    )
    add(
        "--titles",
        type=Path,
        default=TITLES,
        help="titles to check with, one per line, a description after a tab (default: %(default)s)",
    )
    add("--threads", type=int, help="threads per forward (default: one per usable processor)")
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        parser.error(f"--threads is {options.threads}, expected 1 or more")
    # So that a compile that is terminated removes its unfinished files.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        path = locate_checkpoint(options.checkpoint)
        compile_checkpoint(path, options.out, options.precision, options.titles, options.threads)
    except (CheckpointError, LocationError, OSError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
