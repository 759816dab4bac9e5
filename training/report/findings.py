"""All numbers that the plots show, on the test split; the checkpoint's are those of `training.evaluate`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.columns import age_hours
from training.data.dataset import Dataset, Split
from training.figures import ECE_BINS, Predictions, score_bins
from training.metrics import (
    BinnedMean,
    Interval,
    MetricsRow,
    best_f1_threshold,
    binned_means,
    metrics_row,
    paired_intervals,
)
from training.report.baselines import SplitPredictions, baseline_predictions
from training.report.importance import Importance, fact_importance
from training.report.scorer import Scorer

FloatArray = NDArray[np.float64]
MODEL = "model"
AGES = {"with age": True, "without age": False}
DAY = 24.0
AGE_EDGES = (1 * DAY, 2 * DAY, 4 * DAY, 7 * DAY, 14 * DAY)  # hours
AGE_LABELS = ("under 1 day", "1 to 2 days", "2 to 4 days", "4 to 7 days", "1 to 2 weeks", "over 2 weeks")
AGE_UNKNOWN = "unknown"
VIEW_EDGES = (1e4, 1e5, 3e5, 1e6, 3e6, 1e7)
VIEW_LABELS = (
    "under 10 k",
    "10 to 100 k",
    "100 to 300 k",
    "300 k to 1 M",
    "1 to 3 M",
    "3 to 10 M",
    "over 10 M",
)


@dataclass(frozen=True)
class ScoreBin:
    """Rows whose scores lie in one tenth: their mean score, and the share of them that went viral."""

    mean_score: float
    share: BinnedMean


@dataclass(frozen=True)
class ErrorBin:
    """Mean |error| in log1p(views per day) of one kind of video, the checkpoint's and the boosting's."""

    label: str
    model: BinnedMean
    boosting: float


@dataclass(frozen=True)
class ModalityGain:
    """The gain from a modality: with minus without, per metric."""

    modality: str
    gain: dict[str, Interval]


@dataclass(frozen=True)
class Findings:
    """By kind of request, `with age` and `without age`, then by model: `model` or a baseline's key."""

    answers: dict[str, dict[str, SplitPredictions]]
    rows: dict[str, dict[str, MetricsRow]]
    gains: dict[str, dict[str, Interval]]  # the checkpoint minus each baseline, with age
    reliability: dict[str, list[ScoreBin]]
    error_by_age: list[ErrorBin]
    error_by_size: list[ErrorBin]
    modalities: list[ModalityGain]
    facts: list[Importance]
    why_no_images: str
    """Empty where thumbnails were scored."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without the predictions."""
        return {
            "rows": {
                age: {name: row.to_dict() for name, row in rows.items()} for age, rows in self.rows.items()
            },
            "gain_over": _plain(self.gains),
            "reliability": {age: [asdict(each) for each in bins] for age, bins in self.reliability.items()},
            "error_by_age": [asdict(each) for each in self.error_by_age],
            "error_by_size": [asdict(each) for each in self.error_by_size],
            "modalities": _plain({each.modality: each.gain for each in self.modalities}),
            "facts": [asdict(each) for each in self.facts],
            "why_no_images": self.why_no_images,
        }


def _plain(gains: dict[str, dict[str, Interval]]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {figure: interval.to_dict() for figure, interval in each.items()}
        for name, each in gains.items()
    }


def find(scorer: Scorer, dataset: Dataset) -> Findings:
    """All findings, in a minute or two. Every split needs both classes, which `read_dataset` checks."""
    answers = {
        age: {
            MODEL: scorer.answers(dataset, with_age=with_age),
            **baseline_predictions(dataset, scorer.names, with_age=with_age),
        }
        for age, with_age in AGES.items()
    }
    known, test = answers["with age"], dataset.test
    return Findings(
        answers=answers,
        rows={
            age: {name: metrics_row(each.test, best_f1_threshold(each.val)) for name, each in by_name.items()}
            for age, by_name in answers.items()
        },
        gains={
            name: paired_intervals(known[MODEL].test, each.test, test.video_ids)
            for name, each in known.items()
            if name != MODEL
        },
        reliability={
            age: reliability(by_name[MODEL].test, test.video_ids) for age, by_name in answers.items()
        },
        error_by_age=_errors(known, test, *age_bins(test)),
        error_by_size=_errors(known, test, *size_bins(test)),
        modalities=_modality_gains(scorer, test, known[MODEL].test),
        facts=fact_importance(scorer, test),
        why_no_images=scorer.why_no_images,
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


def age_bins(split: Split) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Each row's bin by age, and the bins' labels; rows without an age have their own bin."""
    hours = np.array([np.nan if age is None else age for age in map(age_hours, split.videos)])
    bins = np.where(np.isnan(hours), len(AGE_LABELS), np.searchsorted(AGE_EDGES, hours, side="right"))
    return bins.astype(np.int64), (*AGE_LABELS, AGE_UNKNOWN)


def size_bins(split: Split) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Each row's bin by its views so far, and the bins' labels."""
    views = np.array([video.view_count for video in split.videos], dtype=np.float64)
    return np.searchsorted(VIEW_EDGES, views, side="right").astype(np.int64), VIEW_LABELS


def _errors(
    answers: dict[str, SplitPredictions], split: Split, bins: NDArray[np.int64], labels: Sequence[str]
) -> list[ErrorBin]:
    model, boosting = (
        binned_means(absolute_error(answers[name].test), bins, split.video_ids, len(labels))
        for name in (MODEL, "boosting")
    )
    return [
        ErrorBin(label, own, other.mean)
        for label, own, other in zip(labels, model, boosting, strict=True)
        if own is not None and other is not None
    ]


def absolute_error(predictions: Predictions) -> FloatArray:
    """(N,) in log1p(views per day)."""
    return np.abs(predictions.log_velocity - predictions.true_log_velocity)


def _modality_gains(scorer: Scorer, test: Split, whole: Predictions) -> list[ModalityGain]:
    inputs = scorer.inputs(test)
    without = {modality: scorer.without(inputs, modality) for modality in scorer.modalities}
    without["age"] = scorer.inputs(test, with_age=False)
    return [
        ModalityGain(name, paired_intervals(whole, scorer.predict(other, test), test.video_ids))
        for name, other in without.items()
    ]
