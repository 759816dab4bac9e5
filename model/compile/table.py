"""What the compiler tells people of a bundle: a line per tower and candidate, and why some were refused."""

from collections.abc import Mapping
from typing import Any

from model.compiled.bundle import Bundle


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
