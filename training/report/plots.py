"""The plots, one function each, from findings and a palette; without verdicts."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator
from sklearn.metrics import precision_recall_curve, roc_curve

from training.measure.compare import BOOSTING, MODEL, NAMES
from training.measure.figures import Predictions
from training.report.findings import ErrorBin, Findings
from training.report.palette import Palette, new_figure

LINES = {
    "constant": (0, (1, 2)),
    "log views": (0, (1, 1)),
    "linear": (0, (5, 2)),
    BOOSTING: (0, (3, 1, 1, 1)),
}
"""The baselines of the curves, and their dashes."""
LESS_KNOWN = ("-", "-", "--", ":")
"""The line of each condition, the one that knows most first."""
MIN_ROWS = 20  # of a bin that is drawn
BAR = 0.34  # inches
MODALITY_LABELS = {
    "text": "the words",
    "image": "the thumbnail",
    "scalars": "all the numbers",
    "age": "of these, the age",
    "history": "and the previous look",
}


def roc(findings: Findings, palette: Palette) -> Figure:
    """ROC curves of the checkpoint and every baseline."""

    def points(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
        false_alarms, found, _ = roc_curve(predictions.is_viral, predictions.viral)
        return false_alarms, found

    figure, axes = _curves(findings, palette, points, "auroc")
    axes.set_xlabel("false alarms: share of other videos called viral")
    axes.set_ylabel("found: share of viral videos called viral")
    return figure


def precision_recall(findings: Findings, palette: Palette) -> Figure:
    """Precision-recall curves; the dot is at the threshold with the best F1 on val."""

    def points(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
        precision, recall, _ = precision_recall_curve(predictions.is_viral, predictions.viral)
        precision[-1] = precision[-2]  # the last is 1 by definition, not by any threshold
        return recall, precision

    figure, axes = _curves(findings, palette, points, "pr_auc")
    right, found = hit_rates(findings)
    axes.plot([found], [right], "o", color=palette.model, markersize=8, markeredgecolor=palette.ground)
    axes.set_xlabel("found: share of viral videos called viral")
    axes.set_ylabel('right: share of "viral" that is viral')
    return figure


def hit_rates(findings: Findings) -> tuple[float, float]:
    """Precision and recall on test at the best threshold on val."""
    predictions = findings.full.answers[MODEL].test
    called = predictions.viral >= findings.full.rows[MODEL].f1_threshold
    hits = float((called & predictions.is_viral).sum())
    return hits / max(float(called.sum()), 1.0), hits / float(predictions.is_viral.sum())


def _curves(
    findings: Findings,
    palette: Palette,
    points: Callable[[Predictions], tuple[np.ndarray, np.ndarray]],
    area: str,
) -> tuple[Figure, Axes]:
    figure = new_figure(5.3)
    axes = figure.add_subplot()
    for (name, dashes), colour in zip(LINES.items(), palette.series, strict=True):
        value = getattr(findings.full.rows[name], area)
        axes.plot(
            *points(findings.full.answers[name].test),
            color=colour,
            linestyle=dashes,
            linewidth=1.6,
            label=f"{NAMES[name]}  {value:.3f}",
        )
    styles = zip(findings.comparisons.items(), LESS_KNOWN, strict=False)
    for (condition, comparison), style in reversed(list(styles)):
        value, known = getattr(comparison.rows[MODEL], area), comparison is findings.full
        label = NAMES[MODEL] if known else f"this model with {condition}"
        axes.plot(
            *points(comparison.answers[MODEL].test),
            color=palette.model,
            linestyle=style,
            linewidth=2.6 if known else 1.1,
            label=f"{label}  {value:.3f}",
        )
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], loc="outside lower center", ncols=1, title="area under the line"
    )
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    _percent(axes)
    axes.grid(visible=True)
    return figure, axes


def reliability(findings: Findings, palette: Palette) -> Figure:
    """The share of viral videos by score; below, the number of videos by score."""
    figure = new_figure(5.2)
    axes, counts = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color=palette.faint, linestyle=":", label="exactly calibrated")
    colours = (palette.model, *palette.series[::-1])
    for (condition, bins), colour, marker in zip(findings.reliability.items(), colours, "osD^", strict=False):
        means = np.array([each.share.mean for each in bins])
        low, high = (np.array([getattr(each.share, end) for each in bins]) for end in ("low", "high"))
        axes.errorbar(
            [each.mean_score for each in bins],
            means,
            yerr=np.clip([means - low, high - means], 0, None),
            fmt=f"{marker}-",
            color=colour,
            capsize=2,
            linewidth=1.6,
            label=condition,
        )
    axes.legend(loc="upper left")
    axes.set(ylabel="share that went viral", xlim=(-0.01, 1.01), ylim=(-0.02, 1.02))
    axes.grid(visible=True)
    scores = findings.full.answers[MODEL].test.viral
    counts.hist(scores, bins=20, range=(0, 1), color=palette.model)
    counts.set(xlabel="viral_score", ylabel="videos")
    _percent(axes)
    counts.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    return figure


def velocity(findings: Findings, palette: Palette) -> Figure:
    """Actual against predicted views per day, both by powers of ten; darker cells hold more rows."""
    predictions = findings.full.answers[MODEL].test
    actual, predicted = (
        np.log10(np.maximum(np.expm1(values), 1))
        for values in (predictions.true_log_velocity, predictions.log_velocity)
    )
    figure = new_figure(4.9)
    axes = figure.add_subplot()
    low, high = (
        np.floor(np.quantile(np.r_[actual, predicted], 0.001)),
        np.ceil(max(actual.max(), predicted.max())),
    )
    cells = axes.hexbin(
        predicted,
        actual,
        gridsize=40,
        extent=(low, high, low, high),
        mincnt=1,
        bins="log",
        cmap=LinearSegmentedColormap.from_list("heat", palette.heat),
        linewidths=0,
    )
    line = np.array([low, high])
    axes.plot(line, line, color=palette.ink, linewidth=1.2, linestyle=":", label="exactly right")
    for side, label in ((np.log10(2), "twice or half as much"), (-np.log10(2), None)):
        axes.plot(line, line + side, color=palette.series[3], linewidth=1.2, linestyle="--", label=label)
    axes.legend(loc="upper left")
    bar = figure.colorbar(cells, ax=axes, location="bottom", shrink=0.7, aspect=30)
    bar.set_label("snapshots per cell")
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    bar.outline.set_visible(False)
    axes.set(
        xlabel="predicted views per day", ylabel="actual views per day", xlim=(low, high), ylim=(low, high)
    )
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(1))
        axis.set_major_formatter(FuncFormatter(lambda value, _: short(10.0**value)))
    axes.tick_params(labelsize=8.5)
    return figure


def drawn(bins: Sequence[ErrorBin]) -> list[ErrorBin]:
    """The bins with enough rows, or all bins if none has."""
    return [each for each in bins if each.model.rows >= MIN_ROWS] or list(bins)


def _error(bins: Sequence[ErrorBin], palette: Palette, kind: str) -> Figure:
    shown = drawn(bins)
    figure = new_figure(1.6 + 0.42 * len(shown))
    axes = figure.add_subplot()
    places = np.arange(len(shown))
    # The bar starts at 1, which is no error at all.
    factors = np.exp([each.model.mean for each in shown])
    low, high = (np.exp([getattr(each.model, end) for each in shown]) for end in ("low", "high"))
    axes.barh(
        places,
        factors - 1,
        left=1,
        height=0.6,
        color=palette.model,
        xerr=np.clip([factors - low, high - factors], 0, None),
        error_kw={"ecolor": palette.ink, "capsize": 3, "elinewidth": 1.2},
        label="this model",
    )
    axes.plot(
        np.exp([each.boosting for each in shown]),
        places,
        "D",
        color=palette.series[3],
        markeredgecolor=palette.ground,
        markersize=7,
        label="gradient boosting",
    )
    axes.set_yticks(places, [f"{each.label}\n{each.model.rows:,} rows" for each in shown], fontsize=9.5)
    axes.invert_yaxis()
    axes.set_xlim(1, max(float(high.max()), 1.1) * 1.04)
    axes.set(xlabel="factor of error (1 is exact)", ylabel=kind)
    axes.grid(visible=True, axis="x")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def modalities(findings: Findings, palette: Palette) -> Figure:
    """Additional pairs of 100 that are ranked correctly with each input."""
    names = [MODALITY_LABELS[name] for name in findings.modalities]
    gains = [gain["auroc"] for gain in findings.modalities.values()]
    values, low, high = (
        100 * np.array([getattr(each, name) for each in gains]) for name in ("difference", "low", "high")
    )
    words = [
        f"{value:+.1f}" if name != "image" or not findings.why_no_images else findings.why_no_images
        for value, name in zip(values, findings.modalities, strict=True)
    ]
    figure, axes = _bars(names, values, high, words, palette)
    errors = np.clip([values - low, high - values], 0, None)
    axes.errorbar(values, np.arange(len(names)), xerr=errors, fmt="none", ecolor=palette.ink, capsize=3)
    axes.set_xlim(min(0.0, float(low.min()) * 1.1), max(float(high.max()), 1.0) * 1.22)
    figure.supxlabel("additional pairs of 100 that are ranked correctly", fontsize=11)
    return figure


def facts(findings: Findings, palette: Palette) -> Figure:
    """Changes of the score when one fact is swapped between videos."""
    values = np.array([100 * each.score_change for each in findings.facts])
    words = [f"{value:.1f}" for value in values]
    figure, axes = _bars([each.name for each in findings.facts], values, values, words, palette)
    axes.set_xlim(0, max(float(values.max(initial=0)), 0.1) * 1.18)
    figure.supxlabel("change of the score, in points of 100", fontsize=11)
    return figure


def _bars(
    names: Sequence[str], values: np.ndarray, ends: np.ndarray, words: Sequence[str], palette: Palette
) -> tuple[Figure, Axes]:
    figure = new_figure(0.9 + BAR * max(len(names), 2))
    axes = figure.add_subplot()
    axes.barh(np.arange(len(names)), values, height=0.62, color=palette.model)
    for place, (end, word) in enumerate(zip(ends, words, strict=True)):
        axes.annotate(word, (end, place), (6, 0), textcoords="offset points", va="center", fontsize=9.5)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x")
    axes.set_axisbelow(True)
    return figure, axes


def short(value: float) -> str:
    """10000 as `10 k`."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _percent(axes: Axes) -> None:
    percent = FuncFormatter(lambda value, _: f"{100 * value:.0f}%")
    axes.xaxis.set_major_formatter(percent)
    axes.yaxis.set_major_formatter(percent)


Plot = Callable[[Findings, Palette], Figure]
PLOTS: dict[str, Plot] = {
    "error-by-known": lambda found, palette: _error(found.error_by_known, palette, "what is known"),
    "roc": roc,
    "precision-recall": precision_recall,
    "reliability": reliability,
    "velocity": velocity,
    "error-by-age": lambda found, palette: _error(found.error_by_age, palette, "time since publication"),
    "error-by-size": lambda found, palette: _error(found.error_by_size, palette, "views so far"),
    "modalities": modalities,
    "facts": facts,
}
