"""What a request has that the training rows hardly had: in few sentences and in a person's units."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features import Distribution, FeatureScaler, main_script
from serving.scoring.quantities import QUANTITIES, Quantity, percent

# Rounding in a checkpoint's statistics must not make the training data's own extremes look foreign.
TOLERANCE = 1e-6
MOST_SENTENCES = 3
# A script that fewer of the training titles have is foreign to the model.
RARE_SCRIPT = 0.01
# Of all others only what no training row had: with every feature in it, one row in ten would be unusual.
UNUSUAL = frozenset(
    (
        *("log_view_count", "log_like_count", "log_comment_count", "views", "likes", "comments", "shares"),
        *("saves", "log_age_hours", "log_duration_seconds", "duration_sec", "creator_avg_views"),
    )
)


class OutOfRange:
    """Compares requests with the rows that a model was trained on, as far as its checkpoint tells of them."""

    def __init__(
        self,
        scaler: FeatureScaler,
        distributions: Mapping[str, Distribution],
        scripts: Mapping[str, float],
        population: str | None = None,
    ) -> None:
        """`population` names the training videos in words; `scripts` are the shares of their titles'."""
        names = scaler.feature_names_in_
        self._columns = [(name, names.index(name)) for name in QUANTITIES if name in names]
        self._ends = np.array([scaler.low_, scaler.high_])  # (2, F): beyond these a value is clipped
        middles = np.array([_middle(name, distributions) for name in names]).T
        self._usual = np.array([np.maximum(middles[0], scaler.low_), np.minimum(middles[1], scaler.high_)])
        is_said = np.isin(names, list(QUANTITIES))
        self._low = np.where(is_said, self._usual[0] - TOLERANCE, -np.inf)
        self._high = np.where(is_said, self._usual[1] + TOLERANCE, np.inf)
        self._scripts = scripts
        self._population = population

    def about(self, raw: NDArray[np.float64], text: str) -> list[str]:
        """Sentences about one video's raw features (F,), NaN where it does not say, and its text."""
        is_foreign = (raw < self._low) | (raw > self._high)
        sentences = self._about_numbers(raw, is_foreign) if is_foreign.any() else []
        if self._scripts:
            sentences += self._about_script(text)
        if sentences and self._population:
            sentences.append(
                f"This model was trained on {self._population}, so this score is an extrapolation."
            )
        return sentences

    def _about_numbers(self, raw: NDArray[np.float64], is_foreign: NDArray[np.bool_]) -> list[str]:
        sentences: list[str] = []
        topics: set[str] = set()
        for name, column in self._columns:
            quantity = QUANTITIES[name]
            if is_foreign[column] and topics.isdisjoint(quantity.topics):
                topics |= quantity.topics
                sentences.append(self._sentence(quantity, column, float(raw[column])))
        return sentences[:MOST_SENTENCES]

    def _sentence(self, quantity: Quantity, column: int, value: float) -> str:
        side, word = (0, "below") if value < self._low[column] else (1, "above")
        end = float(self._ends[side, column])
        subject = f"The {quantity.what}, {quantity.say(value)}, is {word}"
        if value < end - TOLERANCE if side == 0 else value > end + TOLERANCE:
            low, high = self._ends[:, column].tolist()
            known = _range(quantity, low, high)
            return f"{subject} all of the training data ({known}) and counts as {quantity.say(end)}."
        low, high = self._usual[:, column].tolist()
        return f"{subject} nearly all of the training data (99 % of it: {_range(quantity, low, high)})."

    def _about_script(self, text: str) -> list[str]:
        script = main_script(text)
        if script is None or (share := self._scripts.get(script, 0.0)) >= RARE_SCRIPT:
            return []
        return [
            f"The text is in {script} letters, as {percent(share) if share else 'none'} of the training "
            "titles are; of its words the model has learned next to nothing."
        ]


def out_of_range_for(
    scaler: FeatureScaler,
    distributions: Mapping[str, Distribution],
    scripts: Mapping[str, float],
    provenance: Mapping[str, Any],
) -> OutOfRange:
    """What compares requests with a checkpoint's training rows; `provenance` is the checkpoint's."""
    known = provenance.get("data")
    population = known.get("population") if isinstance(known, Mapping) else None
    return OutOfRange(scaler, distributions, scripts, population if isinstance(population, str) else None)


def _middle(name: str, distributions: Mapping[str, Distribution]) -> tuple[float, float]:
    """Between what a value is usual."""
    known = distributions.get(name)
    if known is None or known.middle is None or name not in UNUSUAL:
        return (-np.inf, np.inf)
    return known.middle


def _range(quantity: Quantity, low: float, high: float) -> str:
    if np.isinf(high):
        return f"at least {quantity.say(low)}"
    return (
        f"at most {quantity.say(high)}" if np.isinf(low) else f"{quantity.say(low)} to {quantity.say(high)}"
    )
