"""Baselines for a checkpoint: a constant, the views only, linear models, gradient boosting.

Each is fitted on the train rows, with the age and again without it, on the features that the checkpoint
reads. The boosting is scikit-learn's HistGradientBoosting, stopped on val as the head is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from features import FeatureScaler, compute_features
from training.data.dataset import Dataset, Split, without_age
from training.metrics import Predictions

FloatArray = NDArray[np.float64]
VIEWS = "log_view_count"
BOOSTING = {
    "max_iter": 400,
    "learning_rate": 0.05,
    "early_stopping": True,
    "n_iter_no_change": 20,
    "random_state": 0,
}
LABELS = {
    "constant": "constant",
    "log views": "views only",
    "linear": "linear",
    "boosting": "gradient boosting",
}


@dataclass(frozen=True, slots=True)
class SplitPredictions:
    """One model's predictions for val, where thresholds are chosen, and for test."""

    val: Predictions
    test: Predictions


def baseline_predictions(
    dataset: Dataset, names: Sequence[str], *, with_age: bool
) -> dict[str, SplitPredictions]:
    """Every baseline by its key in `LABELS`, fitted on `names`, with the age or without its columns."""
    columns = _columns(dataset.train, names, with_age=with_age)
    raw = {name: compute_features(dataset.split(name).videos, names) for name in ("train", "val", "test")}
    scaler = FeatureScaler().fit(raw["train"], tuple(names))
    scaled = {name: scaler.transform(rows)[:, columns] for name, rows in raw.items()}
    chosen = {name: rows[:, columns] for name, rows in raw.items()}
    view_columns = {name: compute_features(dataset.split(name).videos, (VIEWS,)) for name in raw}
    view_scaler = FeatureScaler().fit(view_columns["train"], (VIEWS,))
    views = {name: view_scaler.transform(column) for name, column in view_columns.items()}
    return {
        "constant": _fit(dataset, scaled, DummyClassifier(strategy="prior"), DummyRegressor()),
        "log views": _fit(dataset, views, LogisticRegression(max_iter=1000), Ridge()),
        "linear": _fit(dataset, scaled, LogisticRegression(max_iter=1000), Ridge()),
        "boosting": _fit_boosting(dataset, chosen),
    }


def age_columns(split: Split, names: Sequence[str]) -> list[int]:
    """The columns that change when a request has no `published_at`."""
    known, unknown = (compute_features(each, names) for each in (split.videos, without_age(split.videos)))
    return [
        column
        for column in range(len(names))
        if not np.array_equal(known[:, column], unknown[:, column], equal_nan=True)
    ]


def _columns(train: Split, names: Sequence[str], *, with_age: bool) -> list[int]:
    """Those that vary in the train rows."""
    constant = FeatureScaler().fit(compute_features(train.videos, names), tuple(names)).is_constant_
    left_out = set() if with_age else set(age_columns(train, names))
    return [column for column in range(len(names)) if not constant[column] and column not in left_out]


def _fit(dataset: Dataset, rows: dict[str, Any], classifier: Any, regressor: Any) -> SplitPredictions:
    classifier.fit(rows["train"], dataset.train.is_viral)
    regressor.fit(rows["train"], np.log1p(dataset.train.views_per_day))
    return _answers(dataset, rows, classifier, regressor)


def _fit_boosting(dataset: Dataset, rows: dict[str, FloatArray]) -> SplitPredictions:
    classifier = HistGradientBoostingClassifier(**BOOSTING).fit(
        rows["train"], dataset.train.is_viral, X_val=rows["val"], y_val=dataset.val.is_viral
    )
    regressor = HistGradientBoostingRegressor(**BOOSTING).fit(
        rows["train"],
        np.log1p(dataset.train.views_per_day),
        X_val=rows["val"],
        y_val=np.log1p(dataset.val.views_per_day),
    )
    return _answers(dataset, rows, classifier, regressor)


def _answers(dataset: Dataset, rows: dict[str, Any], classifier: Any, regressor: Any) -> SplitPredictions:
    def of(name: str) -> Predictions:
        split = dataset.split(name)
        return Predictions(
            viral=classifier.predict_proba(rows[name])[:, 1].astype(np.float64),
            log_velocity=regressor.predict(rows[name]).astype(np.float64),
            is_viral=split.is_viral,
            true_log_velocity=np.log1p(split.views_per_day),
        )

    return SplitPredictions(val=of("val"), test=of("test"))
