"""Refuses a target that follows from the inputs: a head would only learn to copy it.

For example, views per day since publication are the view count divided by the age, and a label may be a
threshold on a count. Every feature is tested on train's videos, by itself and with the others. Honest data
is far from the limits: for trending videos the best feature has a rank correlation of .88 with the next
day's velocity, all features explain .79 of its variance, and yesterday's velocity, which a request does not
have, has a rank correlation of .96.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline

from features import MILES_V1, OPTIONAL, REGISTRY, compute_features
from training.data.dataset import Dataset, Split
from training.data.fields import INPUTS
from training.data.table import DatasetError

FloatArray = NDArray[np.float64]
NAMES = (*MILES_V1, *(name for names in OPTIONAL.values() for name in names))
RANKS = 0.98  # Spearman's correlation of one feature with the target
EXPLAINS = 0.97  # of the target's variance, on held-out videos
SEPARATES = 0.995  # AUROC of a given label, on held-out videos
MAX_VIDEOS = 6000  # of train, which are enough
MIN_VIDEOS = 50
HONEST = "expected less than"


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of each of N train videos: (N, F) raw features, log1p(views per day), labels, two halves."""

    features: FloatArray
    target: FloatArray
    label: NDArray[np.bool_] | None
    half: NDArray[np.bool_]
    """The videos to fit on; the others are held out."""


def refuse_leaks(dataset: Dataset, seed: int = 0) -> None:
    """Raise `DatasetError` for an input, or inputs, that determine the target or a given label."""
    sample = _sample(dataset, seed)
    if len(sample.target) < MIN_VIDEOS or np.ptp(sample.target) == 0:
        return
    for column, name in enumerate(NAMES):
        found = _alone(sample, column)
        if found is not None:
            raise DatasetError(
                _sentence(dataset, _columns((name,)), f"the feature {name} ({_formula(name)})", found)
            )
    together = _together(sample, seed)
    if together is not None:
        names, found = together
        raise DatasetError(
            _sentence(
                dataset, _columns(names), f"the features together, mainly {' and '.join(names)},", found
            )
        )


def _sample(dataset: Dataset, seed: int) -> Sample:
    train: Split = dataset.train
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(train))
    # Rows of one video are near copies of each other, and would seem to explain each other.
    _, first = np.unique(np.array(train.video_ids)[order], return_index=True)
    chosen = order[np.sort(first)][:MAX_VIDEOS]
    features = compute_features([train.videos[row] for row in chosen], NAMES)
    features[:, np.isnan(features).all(axis=0)] = 0.0  # boosting cannot bin a column of NaN
    return Sample(
        features=features,
        target=np.log1p(train.views_per_day[chosen]),
        label=train.is_viral[chosen] if np.isnan(dataset.viral_threshold) else None,
        half=draw.random(len(chosen)) < 0.5,
    )


def _alone(sample: Sample, column: int) -> str | None:
    """How strongly one feature determines the target, or None below the limits."""
    values = sample.features[:, column]
    known = np.isfinite(values)
    if known.sum() < MIN_VIDEOS or np.ptp(values[known]) == 0 or np.ptp(sample.target[known]) == 0:
        return None
    rank = float(spearmanr(values[known], sample.target[known]).statistic)
    if abs(rank) >= RANKS:
        return f"ranks views per day with Spearman's {rank:.4f}, {HONEST} {RANKS}"
    share = _explained(values[known], sample.target[known])
    if share >= EXPLAINS:
        return f"explains {share:.4f} of views per day's variance, {HONEST} {EXPLAINS}"
    if sample.label is not None and 0 < sample.label[known].sum() < known.sum():
        area = float(roc_auc_score(sample.label[known], values[known]))
        if max(area, 1 - area) >= SEPARATES:
            return f"separates is_viral with an AUROC of {max(area, 1 - area):.4f}, {HONEST} {SEPARATES}"
    return None


def _explained(values: FloatArray, target: FloatArray) -> float:
    """The share of the target's variance that any function of `values` explains.

    Neighbours in the order of `values` differ only by the residual (von Neumann 1941, Ann. Math. Stat. 12).
    """
    ordered = target[np.argsort(values, kind="stable")]
    return float(1 - (np.diff(ordered) ** 2).mean() / (2 * ordered.var()))


def _linear() -> Pipeline:
    """Logarithms turn a product or quotient into a sum, which this model finds in a hundred rows."""
    return make_pipeline(SimpleImputer(keep_empty_features=True), LinearRegression())


def _together(sample: Sample, seed: int) -> tuple[tuple[str, ...], str] | None:
    """The strongest features, and how strongly all determine the target; None below the limits."""
    learn, judge = sample.half, ~sample.half
    if min(learn.sum(), judge.sum()) < MIN_VIDEOS:
        return None
    truth, models = sample.target, (_linear(), HistGradientBoostingRegressor(random_state=seed))
    for model in models:
        model.fit(sample.features[learn], truth[learn])
        share = float(r2_score(truth[judge], model.predict(sample.features[judge])))
        if share >= EXPLAINS:
            return _strongest(model, sample, truth, seed), (
                f"explain {share:.4f} of views per day's variance, {HONEST} {EXPLAINS}"
            )
    if sample.label is None or len(set(sample.label[learn])) < 2 or len(set(sample.label[judge])) < 2:
        return None
    classifier = HistGradientBoostingClassifier(random_state=seed).fit(
        sample.features[learn], sample.label[learn]
    )
    area = float(roc_auc_score(sample.label[judge], classifier.predict_proba(sample.features[judge])[:, 1]))
    if area >= SEPARATES:
        return _strongest(classifier, sample, sample.label, seed), (
            f"separate is_viral with an AUROC of {area:.4f}, {HONEST} {SEPARATES}"
        )
    return None


def _strongest(model: object, sample: Sample, truth: NDArray[np.generic], seed: int) -> tuple[str, ...]:
    judge = ~sample.half
    found = permutation_importance(
        model, sample.features[judge], truth[judge], n_repeats=2, random_state=seed, max_samples=0.5
    )
    return tuple(NAMES[column] for column in np.argsort(found.importances_mean)[::-1][:2])


def _formula(name: str) -> str:
    return REGISTRY[name].formula


def _columns(names: tuple[str, ...]) -> str:
    """The columns of a file that these features are computed from."""
    read = {field for name in names for field in REGISTRY[name].reads}
    return ", ".join(field.name for field in INPUTS if field.name in read)


def _sentence(dataset: Dataset, columns: str, which: str, found: str) -> str:
    """The error: the columns, how strongly they determine the target, and what to do."""
    several = "," in columns
    return (
        f"{dataset.name}: {columns} {'determine' if several else 'determines'} the target: {which} "
        f"{found}. A head trained on it would score well here and fail on new videos. Use a target that was "
        "measured after the inputs (next_views and hours_to_next from the video's next snapshot), or leave "
        "the input out with --column NAME="
    )
