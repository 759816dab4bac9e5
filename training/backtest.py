"""Refits the head on rolling origins and plots how its figures change over time.

    ./miles backtest DATA --out DIR [--origins 4] [--text-encoder minilm] [--cache DIR] ...

At each origin a head is trained on the videos seen before it and measured on those first seen between it and
the next origin. The first origin's head is measured on the same videos without being refitted; the gap is the
gain from refitting. DIR gets backtest.png and backtest.json. The last line on stdout is JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from model.torch_engine import TorchEngine
from training.commands import MIN_ORIGINS, main
from training.data.dataset import Dataset, read_dataset
from training.data.rolling import windows_of
from training.embeddings.text import encode_texts
from training.encoders import Encoders
from training.head.fit import fit_head, untrained_checkpoint
from training.learn import encoders_for
from training.measure.conditions import conditions_of
from training.measure.metrics import Interval, best_f1_threshold, figure_intervals, plain, table
from training.measure.scorer import Scorer
from training.options import reading_from, recipe_from
from training.recipe import Recipe
from training.report.palette import LIGHT, Palette, drawing, new_figure, to_png

FIGURES = {"mae": "MAE, log1p(views per day)", "auroc": "AUROC"}
REFITTED, FIRST = "refitted", "first head"


@dataclass(frozen=True)
class Window:
    """One origin: the figures of both heads on the videos until the next origin, by head and condition."""

    origin: datetime
    train_rows: int
    test_rows: int
    figures: dict[str, dict[str, dict[str, Interval]]]


def backtest(
    dataset: Dataset,
    encoders: Encoders,
    recipe: Recipe,
    seed: int,
    count: int = MIN_ORIGINS,
    cache: Path | None = None,
) -> list[Window]:
    """One window for each of `count` origins. Images are not read. Raises `DatasetError`."""
    texts, first, found = None, None, []
    for origin, rows in windows_of(dataset, count):
        base = untrained_checkpoint(encoders, rows, recipe, seed)
        if texts is None:
            texts = encode_texts(TorchEngine(base), base, dataset, cache)
        print(f"training the head of {origin:%Y-%m-%d} on {len(rows.train):,} rows", flush=True)
        checkpoint = fit_head(base, rows, texts, recipe, seed).checkpoint
        first = checkpoint if first is None else first
        heads = {REFITTED: checkpoint, FIRST: first}
        scorers = {name: Scorer(TorchEngine(each), each, rows, texts) for name, each in heads.items()}
        figures = {name: _figures(scorer, rows) for name, scorer in scorers.items()}
        found.append(Window(origin, len(rows.train), len(rows.test), figures))
    return found


def _figures(scorer: Scorer, rows: Dataset) -> dict[str, dict[str, Interval]]:
    figures = {}
    for name, hide in conditions_of(rows).items():
        answers = scorer.answers(rows, hide)
        figures[name] = figure_intervals(answers.test, best_f1_threshold(answers.val), rows.test.video_ids)
    return figures


def lines_of(windows: Sequence[Window]) -> list[str]:
    """A Markdown table: each origin, condition and head with its figures."""
    shown = ("auroc", "pr_auc", "ece", "mae", "r2", "spearman", "coverage")
    rows = []
    for window in windows:
        for condition in window.figures[REFITTED]:
            for head, by_condition in window.figures.items():
                intervals = by_condition[condition]
                cells = [f"{intervals[name].difference:.3f}" if name in intervals else "" for name in shown]
                rows.append([f"{window.origin:%Y-%m-%d}", condition, head, *cells])
    return table(["origin", "known", "head", *shown], rows)


def draw(windows: Sequence[Window], palette: Palette = LIGHT) -> Figure:
    """Both figures by origin: solid lines are heads refitted at each, dashed lines the first head."""
    figure = new_figure(6.4)
    for axes, (name, label) in zip(
        figure.subplots(len(FIGURES), 1, sharex=True), FIGURES.items(), strict=True
    ):
        colours = (palette.model, *palette.series[::-1])
        for condition, colour in zip(windows[0].figures[REFITTED], colours, strict=False):
            for head, line in ((REFITTED, "-"), (FIRST, "--")):
                found = [window.figures[head][condition][name] for window in windows]
                values = np.array([interval.difference for interval in found])
                low, high = (np.array([getattr(each, end) for each in found]) for end in ("low", "high"))
                axes.errorbar(
                    np.arange(len(windows)),
                    values,
                    yerr=np.clip([values - low, high - values], 0, None) if head == REFITTED else None,
                    color=colour,
                    linestyle=line,
                    capsize=2,
                    label=f"{condition}" if head == REFITTED else None,
                )
        axes.set(ylabel=label)
        axes.grid(visible=True)
    axes.set_xticks(np.arange(len(windows)), [f"{window.origin:%d %b %y}" for window in windows])
    axes.set_xlabel("trained on videos before this day\n(dashed: the first head, not refitted)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=1, title="known")
    return figure


def run(options: argparse.Namespace) -> int:
    """Refit, measure, draw and print. Raises `CheckpointError` and `DatasetError`."""
    options.out.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(options.data, reading_from(options))
    windows_of(dataset, options.origins)  # its errors are reported before gigabytes of encoders are read
    encoders = encoders_for(options, None)
    windows = backtest(dataset, encoders, recipe_from(options), options.seed, options.origins, options.cache)
    with drawing(LIGHT):
        (options.out / "backtest.png").write_bytes(to_png(draw(windows)))
    figures = {
        "data": dataset.name,
        "sha256": dataset.sha256,
        "windows": plain(windows),
    }
    (options.out / "backtest.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("\n".join(lines_of(windows)))
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(["backtest", *sys.argv[1:]]))
