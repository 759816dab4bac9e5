"""A checkpoint's figures on the test split, by what is known, by age, and without each input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.data.dataset import Dataset
from training.measure.conditions import age_groups, conditions_of
from training.measure.figures import Predictions
from training.measure.metrics import (
    Interval,
    MetricsRow,
    best_f1_threshold,
    figure_intervals,
    metrics_row,
    paired_intervals,
    plain,
)
from training.measure.scorer import Scorer, SplitPredictions

MIN_ROWS = 20  # of a group that is measured by itself


@dataclass(frozen=True)
class Group:
    """Test rows with an age or a pattern in common, their figures, and the intervals of these figures."""

    rows: int
    figures: MetricsRow
    intervals: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, **plain(self.figures), "intervals_95": plain(self.intervals)}


@dataclass(frozen=True)
class Report:
    """Figures by condition, the one that knows most first.

    `rows` also has each condition without text and without images; `gains`, by modality, are with it minus
    without it.
    """

    answers: dict[str, SplitPredictions]
    rows: dict[str, MetricsRow]
    intervals: dict[str, dict[str, Interval]]
    gains: dict[str, dict[str, dict[str, Interval]]]
    by_age: dict[str, Group]
    by_pattern: dict[str, Group]

    @property
    def first(self) -> str:
        """The condition that knows most."""
        return next(iter(self.answers))

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the headline figures at the top, the others by condition."""
        return {
            **plain(self.rows[self.first]),
            "by_condition": plain(self.rows),
            "intervals_95": plain(self.intervals),
            "by_age": plain(self.by_age),
            "by_pattern": plain(self.by_pattern),
            **{f"{modality}_gain": plain(gains) for modality, gains in self.gains.items()},
        }


def measure(scorer: Scorer, dataset: Dataset) -> Report:
    """All figures on the test split. F1's threshold is the best one on val, for each condition by itself."""
    modalities = ("text",) if scorer.images is None else ("text", "image")
    conditions, ids = conditions_of(dataset), dataset.test.video_ids
    answers = {name: scorer.answers(dataset, hide) for name, hide in conditions.items()}
    rows = {name: _row(each) for name, each in answers.items()}
    gains: dict[str, dict[str, dict[str, Interval]]] = {modality: {} for modality in modalities}
    for modality in modalities:
        for name, hide in conditions.items():
            without = scorer.answers(dataset, hide, without=modality)
            rows[f"{name}, without {modality}"] = _row(without)
            gains[modality][name] = paired_intervals(answers[name].test, without.test, ids)
    first = next(iter(answers))
    found, threshold = answers[first].test, rows[first].f1_threshold
    groups, labels = age_groups(dataset.test)
    patterns = scorer.inputs(dataset.test).patterns
    return Report(
        answers=answers,
        rows=rows,
        intervals={
            name: figure_intervals(each.test, rows[name].f1_threshold, ids) for name, each in answers.items()
        },
        gains=gains,
        by_age=_by_group(found, threshold, ids, [labels[group] for group in groups], labels),
        by_pattern=_by_group(found, threshold, ids, patterns, sorted(set(patterns))),
    )


def _row(answers: SplitPredictions) -> MetricsRow:
    return metrics_row(answers.test, best_f1_threshold(answers.val))


def _by_group(
    predictions: Predictions,
    threshold: float,
    video_ids: Sequence[str],
    members: Sequence[str],
    labels: Sequence[str],
) -> dict[str, Group]:
    """The figures of each group with enough rows of both classes, in the order of `labels`."""
    names, ids, groups = np.array(members), np.array(video_ids), {}
    for label in labels:
        rows = names == label
        viral = int(predictions.is_viral[rows].sum())
        if rows.sum() >= MIN_ROWS and 0 < viral < rows.sum():
            own = predictions.only(rows)
            groups[label] = Group(
                len(own.viral),
                metrics_row(own, threshold),
                figure_intervals(own, threshold, ids[rows].tolist()),
            )
    return groups
