"""The page about outcomes: one self-contained HTML file."""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.figure import Figure

from training.measure.figures import ECE_BINS, score_bins
from training.outcomes.judge import ALL, FIGURE_NAMES, MIN_ROWS, WEEK, Outcomes, selection, sentence_of
from training.outcomes.looks import FELL, JUDGED, UNCOUNTED, UNSEEN, YOUNG
from training.report.page import Caption, templates
from training.report.palette import Palette, drawn, new_figure

HEADS = {"auroc": "AUROC", "ece": "ECE", "mae": "MAE", "bias": "bias", "coverage": "coverage"}
GOOD_ECE, FAIR_ECE = 0.02, 0.05
GOOD_COVERAGE, FAIR_COVERAGE = 0.75, 0.7
WHY = {
    JUDGED: "looked at again 12 to 72 hours later",
    YOUNG: "less than 72 hours old and not looked at again yet: censored, they may still be judged",
    UNSEEN: "never looked at again in time: the scraper stopped, or the video left its lists",
    FELL: "the view count fell, as when YouTube corrects it; left out, as in training",
    UNCOUNTED: "no view count at the time of the prediction or soon after",
}


def render(outcomes: Outcomes) -> str:
    """The whole page."""
    captions = _captions(outcomes)
    return templates.get_template("outcomes/page.html").render(
        title="How accurate were the scores?",
        outcomes=outcomes,
        captions=captions,
        drawn={name: drawn(PLOTS[name], outcomes) for name in captions},
        judged=JUDGED,
        why=WHY,
        selection=selection(outcomes),
        names=HEADS,
        shadows=[sentence_of(duel) for duel in outcomes.duels],
        min_rows=MIN_ROWS,
    )


def _captions(outcomes: Outcomes) -> dict[str, Caption]:
    """By the picture's name; empty while there is nothing to draw."""
    figures = outcomes.groups[ALL][ALL].figures if outcomes.groups[ALL] else {}
    if not figures:
        return {}
    ece = figures["ece"].difference
    verdict = "good" if ece <= GOOD_ECE else "fair" if ece <= FAIR_ECE else "poor"
    sentence = f"The gap between scores and the share that went viral is {ece:.3f} on average (ECE)."
    alt = _numbers(outcomes)
    found = {"reliability": Caption("Scores and outcomes", sentence, verdict, alt)}
    covered, mae = figures.get("coverage"), figures["mae"].difference
    parts = [f"predictions are off by a factor of {np.exp(mae):.2f} on average"]
    verdict = "fair"
    if covered is not None:
        share = covered.difference
        verdict = "good" if share >= GOOD_COVERAGE else "fair" if share >= FAIR_COVERAGE else "poor"
        parts.append(f"{share:.0%} of the velocities lie within their interval")
    sentence = f"Over all weeks, {' and '.join(parts)}."
    found["weeks"] = Caption("How the figures change over time", sentence, verdict, _weeks(outcomes))
    return found


def _bins(outcomes: Outcomes) -> list[tuple[float, float, int]]:
    """The mean score, the share that went viral and the rows of each tenth of the score that has any."""
    judged = outcomes.judged
    if judged is None:
        return []
    bins = score_bins(judged.viral)
    masks = (bins == each for each in range(ECE_BINS))
    return [
        (float(judged.viral[mask].mean()), float(judged.is_viral[mask].mean()), int(mask.sum()))
        for mask in masks
        if mask.any()
    ]


def _reliability(outcomes: Outcomes, palette: Palette) -> Figure:
    """The share that went viral by score; the larger a dot, the more looks."""
    figure = new_figure(4.4)
    axes = figure.add_subplot()
    means, shares, rows = map(np.array, zip(*_bins(outcomes), strict=True))
    axes.plot([0, 1], [0, 1], color=palette.faint, linestyle=":", label="exactly calibrated")
    axes.plot(means, shares, color=palette.model, linewidth=1.6)
    axes.scatter(means, shares, s=12 + 120 * rows / rows.max(), color=palette.model)
    axes.set(xlabel="viral_score", ylabel="share that went viral", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.legend(loc="upper left")
    axes.grid(visible=True)
    return figure


def _by_week(outcomes: Outcomes, palette: Palette) -> Figure:
    """Each figure by week, with its interval."""
    figure = new_figure(8.0)
    weeks = {name: group for name, group in outcomes.groups[WEEK].items() if group.figures}
    places = np.arange(len(weeks))
    for axes, name in zip(figure.subplots(len(FIGURE_NAMES), 1, sharex=True), FIGURE_NAMES, strict=True):
        found = [
            (place, group.figures[name])
            for place, group in zip(places, weeks.values(), strict=True)
            if name in group.figures
        ]
        values = np.array([each.difference for _, each in found])
        low, high = (np.array([getattr(each, end) for _, each in found]) for end in ("low", "high"))
        errors = np.clip([values - low, high - values], 0, None) if found else None
        axes.errorbar(
            [place for place, _ in found], values, yerr=errors, color=palette.model, fmt="o-", capsize=2
        )
        axes.set(ylabel=HEADS[name])
        axes.grid(visible=True)
    axes.set_xticks(places, list(weeks), rotation=45, ha="right")
    return figure


PLOTS: Mapping[str, Callable[[Outcomes, Palette], Figure]] = {"reliability": _reliability, "weeks": _by_week}


def _numbers(outcomes: Outcomes) -> str:
    parts = (
        f"of {rows} looks scored {mean:.2f} on average, {share:.0%} went viral"
        for mean, share, rows in _bins(outcomes)
    )
    return "; ".join(parts) + "."


def _weeks(outcomes: Outcomes) -> str:
    parts = []
    for week, group in outcomes.groups[WEEK].items():
        figures = ", ".join(f"{HEADS[name]} {each.difference:.3f}" for name, each in group.figures.items())
        parts.append(f"{week}: {group.rows} looks" + (f", {figures}" if figures else ""))
    return "; ".join(parts) + "."
