"""Baselines for a checkpoint: a constant, the views only, linear models, gradient boosting.

Each is fitted on the train rows with the same inputs hidden as in the rows that it is measured on, on the
features that the checkpoint reads; the last two also with the main components of the text vectors. Every
video has the same weight. The boosting is scikit-learn's HistGradientBoosting, stopped on val as the head is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from features import FeatureScaler, compute_features
from training.data.dataset import SPLITS, Dataset
from training.embeddings.text import TextEmbeddings
from training.head.knowns import hidden
from training.head.projection import Projection
from training.measure.figures import Predictions
from training.measure.scorer import SplitPredictions

FloatArray = NDArray[np.float64]
VIEWS = "log_view_count"
TEXT_COMPONENTS = 24
BOOSTING = {
    "max_iter": 300,
    "learning_rate": 0.06,
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
WITH_TEXT = {name: f"{name} with text" for name in ("linear", "boosting")}
"""The baselines that are also fitted with text, by their names with it."""


def baseline_predictions(
    dataset: Dataset,
    names: Sequence[str],
    hide: Sequence[str] = (),
    texts: TextEmbeddings | None = None,
    only: Sequence[str] = tuple(LABELS),
) -> dict[str, SplitPredictions]:
    """The baselines `only`, by key, fitted on the features `names` without the groups `hide`.

    With `texts`, those of `WITH_TEXT` are also fitted with the text's components, under that name.
    """
    raw = _features(dataset, names, hide)
    components = None if texts is None else _components(dataset, texts)
    found = {}
    for baseline in only:
        if baseline == "constant":
            found[baseline] = _fit(dataset, raw, DummyClassifier(strategy="prior"), DummyRegressor())
        elif baseline == "log views":
            found[baseline] = _fit_linear(dataset, _features(dataset, (VIEWS,), hide))
        else:
            fit = _fit_linear if baseline == "linear" else _fit_boosting
            found[baseline] = fit(dataset, raw)
            if components is not None:
                both = {name: np.hstack([rows, components[name]]) for name, rows in raw.items()}
                found[WITH_TEXT[baseline]] = fit(dataset, both)
    return found


def _features(dataset: Dataset, names: Sequence[str], hide: Sequence[str]) -> dict[str, FloatArray]:
    """(N, F) raw features by split, NaN where a value is unknown."""
    return {name: compute_features(hidden(dataset.split(name).videos, hide), names) for name in SPLITS}


def _components(dataset: Dataset, texts: TextEmbeddings) -> dict[str, Any]:
    """The text vectors' main components by split, (N, `TEXT_COMPONENTS`) or fewer where there are fewer."""
    train = texts.of(dataset.train.videos)
    dims = min(TEXT_COMPONENTS, len(train) - 1, train.shape[1])
    projection = Projection().fit(train, dataset.train.weights, dims)
    return {name: projection.transform(texts.of(dataset.split(name).videos)) for name in SPLITS}


def _varying(rows: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """The columns that vary in the train rows; one column of zeros if none does."""
    width = rows["train"].shape[1]
    constant = FeatureScaler().fit(rows["train"], [str(column) for column in range(width)]).is_constant_
    if constant.all():
        return {name: np.zeros((len(each), 1)) for name, each in rows.items()}
    return {name: each[:, ~constant] for name, each in rows.items()}


def _fit_linear(dataset: Dataset, rows: dict[str, FloatArray]) -> SplitPredictions:
    """A logistic and a ridge regression on standardised values; unknown values become the mean."""
    varying = _varying(rows)
    names = [str(column) for column in range(varying["train"].shape[1])]
    scaler = FeatureScaler().fit(varying["train"], names)
    scaled = {name: scaler.transform(each) for name, each in varying.items()}
    return _fit(dataset, scaled, LogisticRegression(max_iter=1000), Ridge())


def _fit(dataset: Dataset, rows: dict[str, Any], classifier: Any, regressor: Any) -> SplitPredictions:
    train = dataset.train
    classifier.fit(rows["train"], train.is_viral, sample_weight=train.weights)
    regressor.fit(rows["train"], np.log1p(train.views_per_day), sample_weight=train.weights)
    return _answers(dataset, rows, classifier, regressor)


def _fit_boosting(dataset: Dataset, rows: dict[str, FloatArray]) -> SplitPredictions:
    """On raw values, with NaN where a value is unknown."""
    varying, train, val = _varying(rows), dataset.train, dataset.val
    weights = {"sample_weight": train.weights, "sample_weight_val": val.weights}
    classifier = HistGradientBoostingClassifier(**BOOSTING).fit(
        varying["train"], train.is_viral, X_val=varying["val"], y_val=val.is_viral, **weights
    )
    # The median, like the predicted velocity; it has the smallest MAE.
    regressor = HistGradientBoostingRegressor(loss="absolute_error", **BOOSTING).fit(
        varying["train"],
        np.log1p(train.views_per_day),
        X_val=varying["val"],
        y_val=np.log1p(val.views_per_day),
        **weights,
    )
    return _answers(dataset, varying, classifier, regressor)


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
