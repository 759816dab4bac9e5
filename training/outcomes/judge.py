"""The figures of predictions whose outcome is known: together, by week, by version, by what was known, and
each shadow's against the version that was served at the time.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np

from training.measure.figures import FIGURES, FloatArray, Predictions, Statistic, figures_of, mean
from training.measure.metrics import (
    FIGURE_RESAMPLES,
    Interval,
    difference,
    intervals_of,
    plain,
    resample,
    table,
)
from training.outcomes.looks import FELL, JUDGED, STATES, UNCOUNTED, UNSEEN, Looked, condition

MIN_ROWS = 20  # of a group that is measured by itself
ALL, WEEK, VERSION, KNOWN = "all", "week", "version", "known"
FIGURE_NAMES = ("auroc", "ece", "mae", "bias", "coverage")
DECIDING = ("brier", "mae")
"""The figures that decide whether a shadow is better or worse; lower is better."""


@dataclass(frozen=True)
class Group:
    """Judged predictions with something in common; no figures below `MIN_ROWS` rows."""

    rows: int
    videos: int
    viral: int
    figures: dict[str, Interval]


@dataclass(frozen=True)
class Duel:
    """A new version and the served one on the same looks: the new one's figures minus the served one's."""

    new: str
    served: str
    rows: int
    videos: int
    differences: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """`better`, `worse`, `mixed`, or `undecided`, by what is significant."""
        found = [self.differences[name] for name in DECIDING if name in self.differences]
        is_better, is_worse = any(each.high < 0 for each in found), any(each.low > 0 for each in found)
        if is_better and is_worse:
            return "mixed"
        return "better" if is_better else "worse" if is_worse else "undecided"


@dataclass(frozen=True)
class Outcomes:
    """Everything shown. `states` count served predictions; `mean_scores` are their mean scores by state."""

    computed_at: datetime
    viral_above: float
    states: dict[str, int]
    mean_scores: dict[str, float]
    groups: dict[str, dict[str, Group]]
    duels: list[Duel]
    judged: Predictions | None
    """The served predictions that are judged; None without any."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "computed_at": self.computed_at.isoformat(),
            "viral_above_views_per_day": self.viral_above,
            "predictions": self.states,
            "mean_scores": self.mean_scores,
            "groups": plain(self.groups),
            "shadows": plain(self.duels),
        }


def judge(found: Sequence[Looked], viral_above: float) -> Outcomes:
    """The outcomes; a video is viral above `viral_above` views per day."""
    served = [look for look in found if look.shadow_of is None]
    judged = [look for look in served if look.state == JUDGED]
    kinds: dict[str, Callable[[Looked], str]] = {
        ALL: lambda _: ALL,
        WEEK: lambda look: "{}-W{:02}".format(*look.observed_at.astimezone(UTC).isocalendar()),
        VERSION: lambda look: look.version,
        KNOWN: lambda look: condition(look.known),
    }
    scores: defaultdict[str, list[float]] = defaultdict(list)
    for look in served:
        scores[look.state].append(look.viral_score)
    return Outcomes(
        computed_at=datetime.now(UTC),
        viral_above=viral_above,
        states={state: len(scores[state]) for state in STATES},
        mean_scores={state: float(np.mean(scores[state])) for state in STATES if scores[state]},
        groups={by: _grouped(judged, key, viral_above) for by, key in kinds.items()},
        duels=_duels(found, viral_above),
        judged=predictions_of(judged, viral_above) if judged else None,
    )


def predictions_of(judged: Sequence[Looked], viral_above: float) -> Predictions:
    """The predictions and the outcomes; ends of an interval are NaN if there is none."""
    rates = np.array([look.views_per_day for look in judged], dtype=np.float64)
    ends = np.array([look.interval or (np.nan, np.nan) for look in judged], dtype=np.float64)
    return Predictions(
        viral=np.array([look.viral_score for look in judged]),
        log_velocity=np.log1p([look.velocity for look in judged]),
        is_viral=rates > viral_above,
        true_log_velocity=np.log1p(rates),
        low=np.log1p(ends[:, 0]),
        high=np.log1p(ends[:, 1]),
    )


def _grouped(judged: Sequence[Looked], key: Callable[[Looked], str], viral_above: float) -> dict[str, Group]:
    members: defaultdict[str, list[Looked]] = defaultdict(list)
    for look in judged:
        members[key(look)].append(look)
    return {name: _group(members[name], viral_above) for name in sorted(members)}


def _group(judged: Sequence[Looked], viral_above: float) -> Group:
    predictions = predictions_of(judged, viral_above)
    videos = [look.candidate_id for look in judged]
    figures = {}
    if len(judged) >= MIN_ROWS:
        statistics = _statistics(predictions, FIGURE_NAMES)
        figures = intervals_of(resample(statistics, videos, resamples=FIGURE_RESAMPLES))
    return Group(len(judged), len(set(videos)), int(predictions.is_viral.sum()), figures)


def _statistics(
    predictions: Predictions, names: Sequence[str]
) -> dict[str, Callable[[FloatArray], FloatArray]]:
    """The figures that these predictions have, as functions of row weights."""
    statistics: dict[str, Statistic] = {**FIGURES, "bias": _bias}
    found: dict[str, Callable[[FloatArray], FloatArray]] = {
        name: partial(statistics[name], predictions) for name in names if name in statistics
    }
    if not 0 < predictions.is_viral.sum() < len(predictions.is_viral):
        found.pop("auroc", None)
    assert predictions.low is not None, "predictions_of gives both ends"
    has_interval = np.isfinite(predictions.low)
    if "coverage" in names and has_interval.sum() >= MIN_ROWS:
        only = predictions.only(has_interval)
        covered = figures_of(only, 0.5)["coverage"]
        found["coverage"] = lambda weights: covered(only, weights[:, has_interval])
    return found


def _bias(predictions: Predictions, weights: FloatArray) -> FloatArray:
    """The mean of log1p(predicted) - log1p(actual): above 0 where the predictions are too high."""
    return mean(predictions.log_velocity - predictions.true_log_velocity, weights)


def _duels(found: Sequence[Looked], viral_above: float) -> list[Duel]:
    """Each shadow against each version served alongside it, on looks whose outcome is known."""
    served = {look.id: look for look in found if look.shadow_of is None and look.state == JUDGED}
    pairs: defaultdict[tuple[str, str], list[tuple[Looked, Looked]]] = defaultdict(list)
    for look in found:
        beside = served.get(look.shadow_of or "")
        if beside is not None and look.state == JUDGED:
            pairs[look.version, beside.version].append((look, beside))
    return [_duel(*versions, each, viral_above) for versions, each in sorted(pairs.items())]


def _duel(shadow: str, served: str, pairs: Sequence[tuple[Looked, Looked]], viral_above: float) -> Duel:
    videos = [look.candidate_id for look, _ in pairs]
    differences = {}
    if len(pairs) >= MIN_ROWS:
        names = ("auroc", *DECIDING, "ece", "coverage")
        one, other = (
            resample(_statistics(predictions_of(side, viral_above), names), videos)
            for side in zip(*pairs, strict=True)
        )
        both = one.keys() & other.keys()
        differences = difference(
            {name: one[name] for name in names if name in both},
            {name: other[name] for name in names if name in both},
        )
    return Duel(shadow, served, len(pairs), len(set(videos)), differences)


def lines_of(outcomes: Outcomes) -> list[str]:
    """Markdown for a terminal: the counts, the figures, and which shadow is better."""
    counts, rows = Counter(outcomes.states), []
    for by, groups in outcomes.groups.items():
        for name, group in groups.items():
            found = group.figures
            cells = [f"{found[figure]:.3f}" if figure in found else "" for figure in FIGURE_NAMES]
            rows.append([by, name, f"{group.rows:,}", f"{group.viral:,}", *cells])
    return [
        f"{counts.total():,} predictions: " + ", ".join(f"{counts[state]:,} {state}" for state in STATES),
        f"viral: more than {outcomes.viral_above:,.0f} views a day",
        "",
        *table(["by", "group", "rows", "viral", *FIGURE_NAMES], rows),
        *map(sentence_of, outcomes.duels),
    ]


def selection(outcomes: Outcomes) -> str:
    """How the judged predictions differ from those that can no longer be judged."""
    judged, unseen = outcomes.states[JUDGED], outcomes.states[UNSEEN]
    due = judged + unseen + outcomes.states[FELL] + outcomes.states[UNCOUNTED]
    if not due:
        return "No prediction is old enough to be judged."
    text = f"Of {due:,} predictions that are old enough, {judged:,} ({judged / due:.0%}) are judged."
    if judged and unseen:
        means = outcomes.mean_scores
        text += (
            f" The mean score is {means[JUDGED]:.3f} for the judged and {means[UNSEEN]:.3f} for those not "
            "seen again: the figures hold for videos that a scraper sees again, not for all."
        )
    return text


def sentence_of(duel: Duel) -> str:
    """Which of two versions is better, and by how much."""
    rows = f"on {duel.rows:,} looks at {duel.videos:,} videos"
    if not duel.differences:
        return f"{duel.new} against {duel.served}: {rows}, expected {MIN_ROWS} or more to compare them"
    figures = ", ".join(f"{name} {each:+.4f}" for name, each in duel.differences.items())
    verdicts = {
        "better": f"{duel.new} is better than {duel.served}",
        "worse": f"{duel.new} is worse than {duel.served}",
        "mixed": f"{duel.new} is better than {duel.served} in one figure and worse in another",
        "undecided": f"these looks do not decide between {duel.new} and {duel.served}",
    }
    return f"{verdicts[duel.verdict]} ({rows}, the new one minus the served one, paired): {figures}"
