"""The page about outcomes: one self-contained HTML file."""

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from matplotlib.figure import Figure

from training.measure.figures import ECE_BINS, score_bins
from training.outcomes.judge import ALL, FIGURE_NAMES, MIN_ROWS, WEEK, Outcomes, selection, sentence_of
from training.outcomes.looks import FELL, JUDGED, STATES, UNCOUNTED, UNSEEN, YOUNG
from training.report.page import Picture, section, style, summary_item
from training.report.palette import DARK, DPI, LIGHT, Palette, drawing, new_figure, to_png
from training.report.sentences import Caption

TEMPLATE = Path(__file__).with_name("page.html")
HEADS = {"auroc": "AUROC", "ece": "ECE", "mae": "MAE", "bias": "bias", "coverage": "coverage"}
GOOD_ECE, FAIR_ECE = 0.02, 0.05
GOOD_COVERAGE, FAIR_COVERAGE = 0.75, 0.7
WHY = {
    JUDGED: "looked at again 12 to 72 hours later",
    YOUNG: "less than 72 hours old and not looked at again yet: censored, they may still be judged",
    UNSEEN: "never looked at again in time: the scraper stopped, or the video left its lists",
    FELL: "the view count fell, which YouTube's corrections do; left out, as in training",
    UNCOUNTED: "no view count at the prediction, nor soon after it",
}


def render(outcomes: Outcomes) -> str:
    """The whole page."""
    captions = _captions(outcomes)
    drawn = {name: _drawn(PLOTS[name], outcomes) for name in captions}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        style=style(),
        judged=f"{outcomes.states[JUDGED]:,}",
        total=f"{sum(outcomes.states.values()):,}",
        computed=f"{outcomes.computed_at:%Y-%m-%d %H:%M} UTC",
        viral=f"{outcomes.viral_above:,.0f}",
        summary="\n".join(summary_item(name, caption) for name, caption in captions.items()),
        sections="\n".join(section(name, caption, drawn[name]) for name, caption in captions.items()),
        states=_states(outcomes),
        selection=escape(selection(outcomes)),
        table=_table(outcomes),
        shadows="\n".join(f"<p>{escape(sentence_of(duel))}.</p>" for duel in outcomes.duels)
        or "<p>No shadow has scored beside the served version.</p>",
        rows=MIN_ROWS,
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
    found = {"reliability": Caption("Scores against what came true", sentence, verdict, alt)}
    covered, mae = figures.get("coverage"), figures["mae"].difference
    parts = [f"predictions are off by a factor of {np.exp(mae):.2f} on average"]
    verdict = "fair"
    if covered is not None:
        share = covered.difference
        verdict = "good" if share >= GOOD_COVERAGE else "fair" if share >= FAIR_COVERAGE else "poor"
        parts.append(f"{share:.0%} of the velocities lie within their interval")
    sentence = f"All weeks together, {' and '.join(parts)}."
    found["weeks"] = Caption("How the figures move with time", sentence, verdict, _weeks(outcomes))
    return found


def _drawn(plot: Callable[[Outcomes, Palette], Figure], outcomes: Outcomes) -> Picture:
    pictures = {}
    for palette in (LIGHT, DARK):
        with drawing(palette):
            figure = plot(outcomes, palette)
            pictures[palette.name] = to_png(figure)
    return Picture(pictures["light"], pictures["dark"], round(figure.get_figheight() * DPI))


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
        f"of {rows} looks scored {mean:.2f} on average {share:.0%} went viral"
        for mean, share, rows in _bins(outcomes)
    )
    return "; ".join(parts) + "."


def _weeks(outcomes: Outcomes) -> str:
    parts = []
    for week, group in outcomes.groups[WEEK].items():
        figures = ", ".join(f"{HEADS[name]} {each.difference:.3f}" for name, each in group.figures.items())
        parts.append(f"{week}: {group.rows} looks" + (f", {figures}" if figures else ""))
    return "; ".join(parts) + "."


def _states(outcomes: Outcomes) -> str:
    rows = "".join(
        f'<tr><th scope="row">{state}</th><td>{outcomes.states[state]:,}</td>'
        f"<td>{_mean(outcomes, state)}</td><td>{WHY[state]}</td></tr>"
        for state in STATES
    )
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("predictions", "how many", "mean score", "why")
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _mean(outcomes: Outcomes, state: str) -> str:
    return f"{outcomes.mean_scores[state]:.3f}" if state in outcomes.mean_scores else ""


def _table(outcomes: Outcomes) -> str:
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("looks", "viral", *HEADS.values()))
    bodies = []
    for by, groups in outcomes.groups.items():
        for name, group in groups.items():
            cells = f"<td>{group.rows:,}</td><td>{group.viral:,}</td>"
            for figure in FIGURE_NAMES:
                found = group.figures.get(figure)
                limits = f"<br><small>{found.low:.3f} to {found.high:.3f}</small>" if found else ""
                cells += f"<td>{found.difference:.3f}{limits}</td>" if found else "<td></td>"
            label = escape(name if by == ALL else f"{by} {name}")
            bodies.append(f'<tr><th scope="row">{label}</th>{cells}</tr>')
    head = f'<thead><tr><th scope="col">group</th>{heads}</tr></thead>'
    return f"<table>{head}<tbody>{''.join(bodies)}</tbody></table>"
