"""A fit's figures beside those of its other heads and of the baselines."""

from typing import Any

from training.data.dataset import Dataset
from training.evaluate import print_intervals, print_rows
from training.head.candidates import IMAGE, SCALARS, TEXT
from training.head.knowns import features_of
from training.measure.baselines import LABELS, baseline_predictions
from training.measure.conditions import conditions_of
from training.measure.evaluation import Report
from training.measure.metrics import best_f1_threshold, metrics_row, paired_intervals, plain

# The names of their figures among the checkpoint's metrics, without images and with: `twin` reads no text.
TWINS = ({SCALARS: "twin"}, {IMAGE: "twin", TEXT: "twin_without_image", SCALARS: "scalars_alone"})


def baselines(dataset: Dataset) -> dict[str, Any]:
    """The figures of gradient boosting and a linear model on the same scalars, by condition."""
    rows = {}
    for condition, hide in conditions_of(dataset).items():
        for key, fitted in baseline_predictions(
            dataset, features_of(dataset), hide, only=("linear", "boosting")
        ).items():
            rows[f"{LABELS[key]}, {condition}"] = metrics_row(fitted.test, best_f1_threshold(fitted.val))
    print_rows(rows)
    return dict(plain(rows))


def compared(chosen: str, reports: dict[str, Report], dataset: Dataset) -> dict[str, Any]:
    """The metrics of the chosen head and of the others, and the paired differences by condition."""
    report = reports[chosen]
    print_rows(
        {f"{name}, {each}": found.rows[each] for name, found in reports.items() for each in found.answers}
    )
    figures = report.to_dict()
    for name, key in TWINS[IMAGE in reports].items():
        twin = reports[name]
        gains = {
            condition: paired_intervals(answers.test, twin.answers[condition].test, dataset.test.video_ids)
            for condition, answers in report.answers.items()
        }
        for condition, gain in gains.items() if name != chosen else ():
            print_intervals(f"{chosen} against {name}, {condition} (95% by video)", gain)
        figures[key] = plain(twin.rows[twin.first])
        figures[f"gain_over_{key}"] = plain(gains[report.first])
        figures[f"gain_over_{key}_by_condition"] = plain(gains)
    return figures
