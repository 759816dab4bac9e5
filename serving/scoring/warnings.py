"""Videos unlike the training data: the warnings about one video, and the drift of the latest ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features import Distribution, Feature, FeatureScaler, Video, features_named, groups_of
from features.wording import percent
from preprocessing.text import main_script

# Rounding in a checkpoint's statistics must not put the training data's own extremes out of range.
TOLERANCE = 1e-6
MAX_WARNINGS = 3
# Below this share of the training titles a script is treated as unknown to the model.
RARE_SCRIPT = 0.01
# 0.6 MB for 18 features, and the last hours of a small service.
WINDOW_ROWS = 4096
# With B bins an unchanged input shows (B - 1) / rows on average: 0.02 here for eleven bins, against the 0.1
# above which a change deserves a look.
FEWEST_ROWS = 500
SCORE = "viral_score"


def imputed(raw: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """The features of one video, raw (F,), that it gives no value for."""
    return [name for name, value in zip(names, raw, strict=True) if np.isnan(value)]


def time_warnings(video: Video) -> list[str]:
    """A warning when a video's times are inconsistent."""
    if video.published_at and video.observed_at and video.published_at > video.observed_at:
        return ["published_at is later than observed_at; the age was taken as zero."]
    return []


class RangeCheck:
    """Compares requests with a model's training rows, as far as its checkpoint describes them."""

    def __init__(
        self,
        scaler: FeatureScaler,
        distributions: Mapping[str, Distribution],
        scripts: Mapping[str, float],
        provenance: Mapping[str, Any],
    ) -> None:
        """`scripts` are shares of the training titles; `provenance` is the checkpoint's."""
        names = scaler.feature_names_in_
        features = features_named(names)
        # In the order of the groups, which is the order of the warnings.
        self._features = [(features[i], i) for _, columns in groups_of(names) for i in columns]
        self._ends = np.array([scaler.low_, scaler.high_])  # (2, F): values beyond these are clipped
        middles = np.array([_middle(feature, distributions) for feature in features]).T
        self._usual = np.array([np.maximum(middles[0], scaler.low_), np.minimum(middles[1], scaler.high_)])
        is_described = np.array([feature.describe is not None for feature in features])
        self._low = np.where(is_described, self._usual[0] - TOLERANCE, -np.inf)
        self._high = np.where(is_described, self._usual[1] + TOLERANCE, np.inf)
        self._scripts = scripts
        known = provenance.get("data")
        population = known.get("population") if isinstance(known, Mapping) else None
        self._population = population if isinstance(population, str) else None

    def warnings(self, raw: NDArray[np.float64], text: str) -> list[str]:
        """Warnings about one video's raw features (F,), NaN where it gives no value, and its text."""
        is_outside = (raw < self._low) | (raw > self._high)
        found = self._about_numbers(raw, is_outside) if is_outside.any() else []
        if self._scripts:
            found += self._about_script(text)
        if found and self._population:
            found.append(f"The model was trained on {self._population}; this score is an extrapolation.")
        return found

    def _about_numbers(self, raw: NDArray[np.float64], is_outside: NDArray[np.bool_]) -> list[str]:
        found: list[str] = []
        topics: set[str] = set()
        for feature, column in self._features:
            if is_outside[column] and topics.isdisjoint(feature.topics):
                topics |= feature.topics
                found.append(self._about(feature, column, float(raw[column])))
        return found[:MAX_WARNINGS]

    def _about(self, feature: Feature, column: int, value: float) -> str:
        assert feature.describe is not None, "only described features are ever outside"
        side, word = (0, "below") if value < self._low[column] else (1, "above")
        end = float(self._ends[side, column])
        subject = f"The {feature.label}, {feature.describe(value)}, is {word}"
        if value < end - TOLERANCE if side == 0 else value > end + TOLERANCE:
            known = _range(feature, *self._ends[:, column].tolist())
            return f"{subject} all of the training data ({known}); it was taken as {feature.describe(end)}."
        return f"{subject} 99% of the training data ({_range(feature, *self._usual[:, column].tolist())})."

    def _about_script(self, text: str) -> list[str]:
        script = main_script(text)
        if script is None or (share := self._scripts.get(script, 0.0)) >= RARE_SCRIPT:
            return []
        occurs = f"occurs in only {percent(share)} of" if share else "does not occur in"
        return [
            f"The title is in {script} script, which {occurs} the training data; expect an unreliable score."
        ]


class DriftWindow:
    """Features and scores of the last `WINDOW_ROWS` scored videos beside their training distributions."""

    def __init__(self, names: tuple[str, ...], distributions: Mapping[str, Distribution]) -> None:
        """`names` are a row's columns; what has no distribution is not watched."""
        columns = {name: column for column, name in enumerate((*names, SCORE))}
        self._watched = {name: (columns[name], known) for name, known in distributions.items()}
        # By columns, as they are counted: (WINDOW_ROWS, F + 1).
        self._rows = np.empty((WINDOW_ROWS if distributions else 0, len(columns)), order="F")
        self._seen = 0

    def observe(self, raw: NDArray[np.float64], score: float) -> None:
        """Record one scored video: its raw features (F,), NaN where unknown, and its score."""
        if not self._watched:
            return
        row = self._rows[self._seen % WINDOW_ROWS]
        row[:-1] = raw
        row[-1] = score
        self._seen += 1

    @property
    def rows(self) -> int:
        """Scored videos in the window."""
        return min(self._seen, len(self._rows))

    def stability(self) -> dict[str, float]:
        """The population stability index by feature, and of the score; empty before `FEWEST_ROWS`."""
        if self.rows < FEWEST_ROWS:
            return {}
        rows = self._rows[: self.rows]
        return {
            name: known.stability_index(known.count(rows[:, column]))
            for name, (column, known) in self._watched.items()
        }


def _middle(feature: Feature, distributions: Mapping[str, Distribution]) -> tuple[float, float]:
    """The range of the middle 99% of the training rows; infinite where it does not warn."""
    known = distributions.get(feature.name)
    if known is None or known.middle is None or not feature.usual:
        return (-np.inf, np.inf)
    return known.middle


def _range(feature: Feature, low: float, high: float) -> str:
    assert feature.describe is not None, "only described features have a range"
    if np.isinf(high):
        return f"at least {feature.describe(low)}"
    if np.isinf(low):
        return f"at most {feature.describe(high)}"
    return f"{feature.describe(low)} to {feature.describe(high)}"
