"""All numbers that the plots show, on the test split; the checkpoint's are those of `training.evaluate`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset, Split
from training.head.knowns import learned_groups
from training.measure.compare import BOOSTING, MODEL, Comparison, compare
from training.measure.conditions import age_groups, conditions_of, size_groups
from training.measure.evaluation import Report, measure
from training.measure.figures import ECE_BINS, Predictions, score_bins
from training.measure.metrics import (
    BinnedMean,
    Interval,
    MetricsRow,
    best_f1_threshold,
    binned_means,
    difference,
    metrics_row,
    paired_samples,
)
from training.measure.scorer import Scorer, SplitPredictions
from training.report.importance import Importance, fact_importance

FloatArray = NDArray[np.float64]
PARTS_OF_NUMBERS = ("age", "history")


@dataclass(frozen=True)
class ScoreBin:
    """Rows whose scores lie in one tenth: their mean score, and the share of them that went viral."""

    mean_score: float
    share: BinnedMean


@dataclass(frozen=True)
class ErrorBin:
    """Mean |error| in log1p(views per day) of one kind of video, the checkpoint's and gradient boosting's."""

    label: str
    model: BinnedMean
    boosting: float


@dataclass(frozen=True)
class Findings:
    """`comparisons` and `reliability` are by what is known, the condition that knows most first."""

    report: Report
    comparisons: dict[str, Comparison]
    error_by_known: list[ErrorBin]
    reliability: dict[str, list[ScoreBin]]
    error_by_age: list[ErrorBin]
    error_by_size: list[ErrorBin]
    modalities: dict[str, dict[str, Interval]]
    """The gain from each input, with minus without, by figure."""
    facts: list[Importance]
    drift: dict[str, dict[str, MetricsRow]]
    """The figures of older checkpoints on the same rows, by name and condition."""
    why_no_images: str
    """Empty where thumbnails were scored."""

    @property
    def full(self) -> Comparison:
        """The condition that knows most."""
        return next(iter(self.comparisons.values()))


def find(
    scorer: Scorer, dataset: Dataset, older: Mapping[str, Scorer] | None = None, why_no_images: str = ""
) -> Findings:
    """All findings; this takes minutes. Every split needs both classes, which `read_dataset` checks."""
    test = dataset.test
    report = measure(scorer, dataset)
    comparisons = compare(report.answers, scorer, dataset)
    full = next(iter(comparisons.values())).answers
    return Findings(
        report=report,
        comparisons=comparisons,
        error_by_known=[
            bin_
            for name, each in comparisons.items()
            for bin_ in _errors(each.answers, test, np.zeros(len(test), dtype=np.int64), [name])
        ],
        reliability={name: reliability(each.test, test.video_ids) for name, each in report.answers.items()},
        error_by_age=_errors(full, test, *age_groups(test)),
        error_by_size=_errors(full, test, *size_groups(test)),
        modalities=_modality_gains(scorer, dataset, full[MODEL].test),
        facts=fact_importance(scorer, test),
        drift={name: _drift(each, dataset) for name, each in (older or {}).items()},
        why_no_images=why_no_images,
    )


def reliability(predictions: Predictions, videos: Sequence[str]) -> list[ScoreBin]:
    """The tenths of the score that have rows, as in the calibration error."""
    tenths = score_bins(predictions.viral)
    shares = binned_means(predictions.is_viral.astype(np.float64), tenths, videos, ECE_BINS)
    return [
        ScoreBin(float(predictions.viral[tenths == tenth].mean()), share)
        for tenth, share in enumerate(shares)
        if share is not None
    ]


def _errors(
    answers: dict[str, SplitPredictions], split: Split, bins: NDArray[np.int64], labels: Sequence[str]
) -> list[ErrorBin]:
    model, boosting = (
        binned_means(absolute_error(answers[name].test), bins, split.video_ids, len(labels))
        for name in (MODEL, BOOSTING)
    )
    return [
        ErrorBin(label, own, other.mean)
        for label, own, other in zip(labels, model, boosting, strict=True)
        if own is not None and other is not None
    ]


def absolute_error(predictions: Predictions) -> FloatArray:
    """(N,) in log1p(views per day)."""
    return np.abs(predictions.log_velocity - predictions.true_log_velocity)


def _modality_gains(scorer: Scorer, dataset: Dataset, whole: Predictions) -> dict[str, dict[str, Interval]]:
    test = dataset.test
    inputs = scorer.inputs(test)
    without = {modality: scorer.without(inputs, modality) for modality in scorer.card.config.modalities}
    learned = learned_groups(dataset)
    without |= {name: scorer.inputs(test, (name,)) for name in PARTS_OF_NUMBERS if name in learned}
    own = paired_samples(whole, test.video_ids)
    return {
        name: difference(own, paired_samples(scorer.predict(other, test), test.video_ids))
        for name, other in without.items()
    }


def _drift(older: Scorer, dataset: Dataset) -> dict[str, MetricsRow]:
    """An older checkpoint's figures by condition."""
    rows = {}
    for name, hide in conditions_of(dataset).items():
        answers = older.answers(dataset, hide)
        rows[name] = metrics_row(answers.test, best_f1_threshold(answers.val))
    return rows
