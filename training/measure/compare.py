"""A checkpoint compared with gradient boosting and linear models on the same inputs, by condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.data.dataset import Dataset
from training.measure.baselines import LABELS, WITH_TEXT, baseline_predictions
from training.measure.conditions import conditions_of
from training.measure.metrics import (
    Interval,
    MetricsRow,
    best_f1_threshold,
    calibrated_ece,
    difference,
    metrics_row,
    paired_samples,
    plain,
    table,
)
from training.measure.scorer import Scorer, SplitPredictions

MODEL = "model"
BOOSTING = WITH_TEXT["boosting"]
"""The baseline that reads what the head reads: the features and the text's main components."""
MAX_ECE = 0.02
COVERAGE = (0.78, 0.82)
COLUMNS = {
    **{"auroc": "AUROC", "pr_auc": "PR-AUC", "ece": "ECE", "mae": "MAE", "r2": "R2", "nmse": "nMSE"},
    **{"spearman": "Spearman", "lift": "lift", "coverage": "coverage"},
}
NAMES = {
    **{MODEL: "this model", **LABELS},
    **{new: f"{LABELS[old]}, with text" for old, new in WITH_TEXT.items()},
}


@dataclass(frozen=True)
class Comparison:
    """The figures of the model and the baselines under one condition.

    `differences` are the model's minus each baseline's, paired by video. `calibrated` is the ECE that the
    model's scores would have by chance if they were perfectly calibrated.
    """

    answers: dict[str, SplitPredictions]
    rows: dict[str, MetricsRow]
    differences: dict[str, dict[str, Interval]]
    calibrated: Interval

    @property
    def misses(self) -> list[str]:
        """Where the model is worse than gradient boosting on the same inputs, or misses a goal."""
        beside, own = self.differences[BOOSTING], self.rows[MODEL]
        found = [
            *(["AUROC is significantly below gradient boosting's"] if beside["auroc"].high < 0 else []),
            *(["MAE is significantly above gradient boosting's"] if beside["mae"].low > 0 else []),
        ]
        if own.ece > MAX_ECE:
            found.append(
                f"ECE is {own.ece:.3f}, expected at most {MAX_ECE}; perfectly calibrated scores would have "
                f"{self.calibrated:.3f} by chance"
            )
        low, high = COVERAGE
        if own.coverage is None:
            return [*found, "the checkpoint has no intervals"]
        if not low <= own.coverage <= high:
            found.append(f"coverage is {own.coverage:.3f}, expected {low} to {high}")
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": plain(self.rows),
            "differences": plain(self.differences),
            "ece_by_chance": plain(self.calibrated),
            "misses": self.misses,
        }


def compare(
    answers: Mapping[str, SplitPredictions], scorer: Scorer, dataset: Dataset
) -> dict[str, Comparison]:
    """The checkpoint's `answers` by condition, with baselines that are fitted under the same condition."""
    names, ids = scorer.card.scalar_features, dataset.test.video_ids
    comparisons = {}
    for condition, hide in conditions_of(dataset).items():
        print(f"fitting baselines on {condition}", flush=True)
        found = {MODEL: answers[condition], **baseline_predictions(dataset, names, hide, scorer.texts)}
        samples = {name: paired_samples(each.test, ids) for name, each in found.items()}
        comparisons[condition] = Comparison(
            answers=found,
            rows={name: metrics_row(each.test, best_f1_threshold(each.val)) for name, each in found.items()},
            differences={
                name: difference(samples[MODEL], each) for name, each in samples.items() if name != MODEL
            },
            calibrated=calibrated_ece(answers[condition].test, ids),
        )
    return comparisons


def lines_of(comparisons: Mapping[str, Comparison]) -> list[str]:
    """Markdown: each condition with the model, the baselines and the differences, then what falls short."""
    rows = []
    for condition, comparison in comparisons.items():
        for name, row in comparison.rows.items():
            values = (getattr(row, column) for column in COLUMNS)
            cells = ["" if value is None else f"{value:.3f}" for value in values]
            rows.append([condition, NAMES[name], *cells])
        differences = comparison.differences[BOOSTING]
        cells = [f"{differences[name]:+.4f}" if name in differences else "" for name in COLUMNS]
        rows.append([condition, f"this model minus {NAMES[BOOSTING]}", *cells])
    lines = table(["known", "model", *COLUMNS.values()], rows)
    for condition, comparison in comparisons.items():
        lines.append(f"{condition}: {'; '.join(comparison.misses) or 'every goal is met'}")
    return lines
