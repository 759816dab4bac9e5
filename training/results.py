"""The results of a fit: phase1_results.json for programs, and a model card in Markdown for people."""

import json
from pathlib import Path
from typing import Any

from model.checkpoint.store import Checkpoint
from training.data.dataset import SPLITS, Dataset
from training.embeddings.images import ImageEmbeddings
from training.measure.metrics import MetricsRow
from training.report.page import templates

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
    """Plain values: the seven agreed keys and what they mean first, then the details."""
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
    """Write both files into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found, card = folder / RESULTS_FILE, folder / f"{Path(name).stem}.card.md"
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    found.write_text(text + "\n", encoding="utf-8")
    card.write_text(model_card(name, results), encoding="utf-8")
    return [found, card]


def model_card(name: str, results: dict[str, Any]) -> str:
    """Markdown: the data, the metrics and the limitations."""
    rows = [*results["by_condition"].values(), results["baseline"]]
    made = results["provenance"]
    return templates.get_template("model_card.md.jinja").render(
        name=name,
        results=results,
        made=made,
        data=made["data"],
        units=UNITS,
        figures=[figure for figure in FIGURES if all(figure in row for row in rows)],
    )
