"""The results of a fit: phase1_results.json for programs, and a model card in Markdown for people."""

import json
import math
from pathlib import Path
from typing import Any

from model.checkpoint.store import Checkpoint
from training.data.dataset import SPLITS, Dataset
from training.embeddings.images import ImageEmbeddings
from training.measure.metrics import MetricsRow

RESULTS_FILE = "phase1_results.json"
SUCCESS = (
    "success: AUROC on test is higher than with scalars only (paired bootstrap over videos, 95%), and "
    "R2 is above 0"
)
UNITS = "MAE and R2 in log1p(views per day); Brier and ECE of calibrated scores; F1's threshold chosen on val"
FIGURES = tuple(name for name in MetricsRow.__slots__ if name != "f1_threshold")


def phase1_results(
    checkpoint: Checkpoint, dataset: Dataset, images: ImageEmbeddings | None, intervals: dict[str, Any]
) -> dict[str, Any]:
    """Plain values: the eight agreed keys first, then the details."""
    card = checkpoint.card
    figures = card.test_metrics
    baseline, gain = _baseline(figures)
    rows = {name: dataset.split(name) for name in SPLITS}
    total = sum(len(split) for split in rows.values())
    viral = sum(int(split.is_viral.sum()) for split in rows.values())
    return {
        "dataset_size": total,
        "viral_rate": viral / total,
        "num_features": len(card.scalar_features),
        "baseline_auroc": baseline["auroc"],
        "multimodal_auroc": figures["auroc"],
        "velocity_mae": figures["mae"],
        "success": bool(gain["auroc"]["low"] > 0 and figures["r2"] > 0),
        "what_they_mean": [SUCCESS, UNITS, "baseline: the same head on scalars only"],
        "by_condition": figures["by_condition"],
        "baseline": baseline,
        "gain_over_baseline": gain,
        "intervals_95": intervals,
        **{name: figures[name] for name in ("chosen", "candidates", "baselines")},
        "patterns": {name: pattern.model_dump() for name, pattern in card.patterns.items()},
        "interval_coverage": card.interval_coverage,
        "meaningful_difference": card.meaningful_difference and card.meaningful_difference.model_dump(),
        "splits": {
            name: {
                "rows": len(split),
                "videos": len(set(split.video_ids)),
                "viral_rate": float(split.is_viral.mean()),
            }
            for name, split in rows.items()
        },
        "rows_in_file": dataset.rows_in_file,
        "left_out": dataset.bad_rows.counts(),
        "purged": dataset.purged_rows,
        "empty_cells": dataset.bad_rows.empty,
        "thumbnails": None if images is None else images.counts(dataset),
        "notes": list(dataset.notes),
        "provenance": card.provenance,
    }


def _baseline(figures: dict[str, Any]) -> tuple[dict[str, float], dict[str, Any]]:
    """The metrics of the head on scalars only, and the full head's gain over it."""
    name = "scalars_alone" if "scalars_alone" in figures else "twin"
    return figures[name], figures[f"gain_over_{name}"]


def write_results(folder: Path, name: str, results: dict[str, Any]) -> list[Path]:
    """Write both files into `folder` and return where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    found, card = folder / RESULTS_FILE, folder / f"{Path(name).stem}.card.md"
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    found.write_text(text + "\n", encoding="utf-8")
    card.write_text(model_card(name, results), encoding="utf-8")
    return [found, card]


def model_card(name: str, results: dict[str, Any]) -> str:
    """Markdown: the data, the metrics and the limitations."""
    made = results["provenance"]
    source, recipe = made["data"], made["recipe"]
    lines = [
        f"# {name}",
        "",
        f"Written by `./miles train` {made['code_version']} on {made['created']}.",
        "",
    ]
    lines += [
        "## Data",
        "",
        f"{source['file']} (sha256 {source['sha256']}), {source['name']}; split {source['split']}.",
        "",
    ]
    lines += ["| split | observed | rows | videos | viral |", "| --- | --- | --- | --- | --- |"]
    for split, part in results["splits"].items():
        observed = source["observed"][split]
        lines.append(
            f"| {split} | {observed} | {part['rows']:,} | {part['videos']:,} | {part['viral_rate']:.1%} |"
        )
    lines += ["", _left_out(results), "", *_thumbnail_lines(results["thumbnails"])]
    lines += ["## Metrics on the test split", "", f"{UNITS}.", ""]
    lines += _table(results)
    gain = results["gain_over_baseline"]["auroc"]
    lines += [
        "",
        f"AUROC gained over scalars only: {gain['difference']:+.4f} [{gain['low']:+.4f}, "
        f"{gain['high']:+.4f}], 95% "
        f"by video. {'The gain is significant.' if gain['low'] > 0 else 'The difference may be chance.'}",
        "",
        *_choice_lines(results),
        "## What is known",
        "",
        f"Calibrated on val. {results['interval_coverage']:.0%} of the views per day lie within the "
        "interval, given as factors of the prediction.",
        "",
        *_pattern_table(results["patterns"]),
        "",
        "## Limitations",
        "",
        *(f"- {note}" for note in [*made["notes"], *results["notes"]]),
        "",
        "## Training",
        "",
        *(f"- {kind} encoder: {_encoder(origin)}" for kind, origin in made["encoders"].items()),
        "- recipe: " + ", ".join(f"{key} {value}" for key, value in recipe.items()),
        "",
    ]
    return "\n".join(lines)


def _choice_lines(results: dict[str, Any]) -> list[str]:
    """Which head won on val, beside the others and the baselines."""
    lines = [
        f"The head on {results['chosen']} has the lowest loss on val and is the one written. The baselines "
        "read the same scalars.",
        "",
        "| model | loss on val | known | auroc | mae | r2 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, candidate in results["candidates"].items():
        for known, row in candidate["by_condition"].items():
            lines.append(f"| head on {name} | {candidate['val_loss']:.4f} | {known} | {_short(row)} |")
    for name, row in results["baselines"].items():
        model, _, known = name.partition(", ")
        lines.append(f"| {model} | | {known} | {_short(row)} |")
    return [*lines, ""]


def _short(row: dict[str, float]) -> str:
    return " | ".join(f"{row[name]:.3f}" for name in ("auroc", "mae", "r2"))


def _pattern_table(patterns: dict[str, Any]) -> list[str]:
    lines = ["| known | val rows | temperature | bias | from | to |", "| --- " * 6 + "|"]
    for name, pattern in patterns.items():
        ends = " | ".join(f"x{math.exp(pattern[end]):.2f}" for end in ("low", "high"))
        moved = f"{pattern['temperature']:.2f} | {pattern['bias']:+.2f}"
        lines.append(f"| {name} | {pattern['rows']:,} | {moved} | {ends} |")
    return lines


def _left_out(results: dict[str, Any]) -> str:
    left_out = ", ".join(f"{count} for {kind}" for kind, count in results["left_out"].items()) or "none"
    return (
        f"Of {results['rows_in_file']:,} rows in the file, left out as unusable: {left_out}; purged because "
        "their "
        f"target lies in the period of the next split: {results['purged']:,}."
    )


def _thumbnail_lines(counts: dict[str, dict[str, int]] | None) -> list[str]:
    if counts is None:
        return []
    text = "; ".join(
        f"{split}: " + ", ".join(f"{count} {state}" for state, count in states.items())
        for split, states in counts.items()
    )
    return [f"Thumbnails by row: {text}.", ""]


def _table(results: dict[str, Any]) -> list[str]:
    rows = {**results["by_condition"], "scalars only": results["baseline"]}
    shown = [name for name in FIGURES if all(name in row for row in rows.values())]
    lines = ["| known | " + " | ".join(shown) + " |", "| --- " * (len(shown) + 1) + "|"]
    for title, row in rows.items():
        lines.append(f"| {title} | " + " | ".join(f"{row[name]:.3f}" for name in shown) + " |")
    for title, intervals in results["intervals_95"].items():
        cells = (f"{intervals[name]['low']:.3f} to {intervals[name]['high']:.3f}" for name in shown)
        lines.append(f"| {title}, 95% | " + " | ".join(cells) + " |")
    return lines


def _encoder(origin: dict[str, Any]) -> str:
    named = origin.get("source", f"seed {origin.get('seed')}")
    return f"{origin['kind']}, {named}"
