"""Videos unlike the training data: the warnings about one video, and the drift of the latest ones."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from html import unescape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features import Distribution, Feature, FeatureScaler, Video, features_named, groups_of
from features.feature import VIDEO_FIELDS, percent
from features.video import age_hours, hours_since_previous
from preprocessing.image import ImageReading, Trait
from preprocessing.text import main_script

# Rounding in a checkpoint's statistics must not put the training data's own extremes out of range.
TOLERANCE = 1e-6
MAX_WARNINGS = 3
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z]\w{1,30});")
TIMES = {"published_at", "observed_at"}
# Below this share of the training titles a script is treated as unknown to the model.
RARE_SCRIPT = 0.01
# 0.6 MB for 18 features, and the last hours of a small service.
WINDOW_ROWS = 4096
# With B bins an unchanged input shows (B - 1) / rows on average: 0.02 here for eleven bins, against the 0.1
# above which a change deserves a look.
FEWEST_ROWS = 500
SCORE = "viral_score"
# How fast videos grow changes within a year or two: a head fitted on 2017's data has R2 below 0 on 2026's.
MAX_DISTANCE = timedelta(days=365)


def imputed(video: Video, raw: NDArray[np.float64], names: Sequence[str]) -> list[str]:
    """The unknown fields of one video that leave some of its features, raw (F,), without a value."""
    missing = [feature for feature, value in zip(features_named(names), raw, strict=True) if np.isnan(value)]
    read = {name for feature in missing for name in feature.reads}
    unknown = {name for name in read if getattr(video, name) is None}
    if video.age_is_in_days and any(TIMES.issuperset(feature.reads) for feature in missing):
        unknown.add("published_at")  # the day is not enough
    if video.gap_is_in_days and "previous_observed_at" in read and hours_since_previous(video) is None:
        unknown.add("previous_observed_at")
    return [name for name in VIDEO_FIELDS if name in unknown]


def video_warnings(video: Video) -> list[str]:
    """Warnings about values of a video that contradict each other or say less than they seem to."""
    found = []
    if video.published_at and video.observed_at:
        if video.age_is_in_days and age_hours(video) is None:
            name = "published_at" if video.published_day else "observed_at"
            found.append(
                f"{name} is a date without a time (exactly midnight), so the age is uncertain by 24 hours; "
                "below two days it counts as unknown. Send the time of day."
            )
        elif video.published_at > video.observed_at:
            found.append("published_at is later than observed_at; the age was taken as zero.")
    if video.previous_observed_at is not None and hours_since_previous(video) is None:
        name = "observed_at" if video.previous_observed_at.time() != time.min else "previous_observed_at"
        found.append(
            f"{name} is a date without a time (exactly midnight), so the time between the two looks is "
            "uncertain by 24 hours; below two days it counts as unknown. Send the time of day."
        )
    elif _is_before(video.previous_observed_at, video.published_at) and not video.published_day:
        found.append("previous_observed_at is earlier than published_at.")
    if video.previous_view_count is not None and video.view_count is None:
        found.append("previous_view_count has no effect without view_count.")
    elif video.view_count is not None and video.view_count < (video.previous_view_count or 0):
        found.append("view_count is lower than previous_view_count; the gain was taken as zero.")
    for name, text in (("title", video.title), ("description", video.description)):
        entity = next((each for each in _ENTITY.findall(text) if unescape(each) != each), None)
        if entity is not None:
            found.append(f"The {name} has HTML entities such as {entity}; send it as plain text.")
    return found


def _is_before(first: datetime | None, second: datetime | None) -> bool:
    return first is not None and second is not None and first < second


def weightless_fields(scaler: FeatureScaler, text_fields: Sequence[str]) -> frozenset[str]:
    """A video's fields that change no score: not text, and not read by a feature that varied in training."""
    features = zip(features_named(scaler.feature_names_in_), scaler.is_constant_, strict=True)
    used = {name for feature, is_constant in features if not is_constant for name in feature.reads}
    return frozenset(VIDEO_FIELDS) - used - {*text_fields, "observed_at"}  # observed_at is always there


def ignored_warnings(video: Video, weightless: frozenset[str], text_fields: Sequence[str]) -> list[str]:
    """Warnings that name the fields in a video that do not change the score, or whose words do not."""
    given = [name for name in VIDEO_FIELDS if name in weightless and getattr(video, name) not in (None, "")]
    if given:
        *others, last = given
        named = f"{', '.join(others)} and {last}" if others else last
        found = [
            f"This checkpoint ignores {named}; the score does not depend on {'them' if others else 'it'}."
        ]
    else:
        found = []
    if video.description.strip() and "description" not in {*weightless, *text_fields}:
        found.append("This checkpoint reads only the length of the description, not its words.")
    return found


def word_warning(letters_per_piece: float | None, minimum: float) -> str | None:
    """A warning when a text has no words that the text encoder knows; `minimum` is the checkpoint's."""
    if letters_per_piece is None:
        return "The title has no words for the text encoder to read."
    if letters_per_piece < minimum:
        return "The text encoder does not know the words of this title; what they add is unreliable."
    return None


def picture_warnings(traits: Trait, reading: ImageReading) -> list[str]:
    """Warnings where a viewer shows a picture differently from how the checkpoint reads it."""
    ignored = {
        Trait.TURNED: reading.orientation == "stored" and "its EXIF orientation was ignored",
        Trait.TRANSPARENT: reading.background == "ignored" and "its transparency was ignored",
        Trait.DEEP: reading.depth == "clipped" and "its 16-bit grey levels were clipped to 8 bits",
        Trait.BARRED: reading.bars == "kept" and "its black bars were kept",
        Trait.PROFILED: reading.colours == "stored" and "its colour profile was ignored",
    }
    texts = [text for trait, text in ignored.items() if text and traits & trait]
    found = []
    if texts:
        found.append(f"The thumbnail was read as this checkpoint was trained to: {', '.join(texts)}.")
    if traits & Trait.CUT_OFF:
        found.append("The thumbnail's file is truncated, but all of its rows are there.")
    return found


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
        self._is_described = np.array([feature.describe is not None for feature in features])
        self._low = np.where(self._is_described, self._usual[0] - TOLERANCE, -np.inf)
        self._high = np.where(self._is_described, self._usual[1] + TOLERANCE, np.inf)
        self._scripts = scripts
        known = provenance.get("data")
        known = known if isinstance(known, Mapping) else {}
        population = known.get("population")
        self._population = population if isinstance(population, str) else None
        self._days = _training_days(known.get("observed"))

    def check(
        self, raw: NDArray[np.float64], text: str, observed_at: datetime | None
    ) -> tuple[bool, list[str]]:
        """Whether one video is within the range of the training data, and warnings about it.

        `raw` are its features (F,), NaN where it gives no value. Out of range is a number below or above all
        training rows, a script that no training title has, or an observation more than `MAX_DISTANCE` from
        the training data's.
        """
        is_outside = (raw < self._low) | (raw > self._high)
        is_beyond = (raw < self._ends[0] - TOLERANCE) | (raw > self._ends[1] + TOLERANCE)
        found = self._about_numbers(raw, is_outside, is_beyond) if is_outside.any() else []
        about_script = self._about_script(text) if self._scripts else []
        about_time = self._about_time(observed_at)
        in_range = not (
            (is_beyond & self._is_described).any()
            or (about_script and main_script(text) not in self._scripts)
            or about_time
        )
        found += about_script + about_time
        if found and self._population:
            end = "." if in_range else "; this score is an extrapolation."
            found.append(f"The model was trained on {self._population}{end}")
        return in_range, found

    def _about_numbers(
        self, raw: NDArray[np.float64], is_outside: NDArray[np.bool_], is_beyond: NDArray[np.bool_]
    ) -> list[str]:
        """One sentence per topic; values out of range take precedence over unusual ones."""
        found: dict[int, str] = {}
        topics: set[str] = set()
        outside = [place for place, (_, column) in enumerate(self._features) if is_outside[column]]
        for place in sorted(outside, key=lambda place: not is_beyond[self._features[place][1]]):
            feature, column = self._features[place]
            if topics.isdisjoint(feature.topics) and len(found) < MAX_WARNINGS:
                topics |= feature.topics
                found[place] = self._about(feature, column, float(raw[column]))
        return [found[place] for place in sorted(found)]

    def _about(self, feature: Feature, column: int, value: float) -> str:
        assert feature.describe is not None, "only described features are ever outside"
        side, word = (0, "below") if value < self._low[column] else (1, "above")
        end = float(self._ends[side, column])
        subject = f"The {feature.label}, {feature.describe(value)}, is {word}"
        if value < end - TOLERANCE if side == 0 else value > end + TOLERANCE:
            known = _range(feature, *self._ends[:, column].tolist())
            return f"{subject} all of the training data ({known}); it was taken as {feature.describe(end)}."
        return f"{subject} 99% of the training data ({_range(feature, *self._usual[:, column].tolist())})."

    def _about_time(self, observed_at: datetime | None) -> list[str]:
        if self._days is None or observed_at is None:
            return []
        first, last = self._days
        # Without a zone: `astimezone` overflows for the first and last day that a datetime can name.
        day = observed_at.replace(tzinfo=UTC)
        distance = max(first - day, day - last)
        if distance <= MAX_DISTANCE:
            return []
        side = "after" if day > last else "before"
        return [
            f"observed_at, {day:%Y-%m-%d}, is {distance.days / 365.25:.1f} years {side} the training data "
            f"({first:%Y-%m-%d} to {last:%Y-%m-%d})."
        ]

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
        """`names` are a row's columns; a column without a distribution is not watched."""
        columns = {name: column for column, name in enumerate((*names, SCORE))}
        self._watched = {name: (columns[name], known) for name, known in distributions.items()}
        # Column-major, because columns are counted: (WINDOW_ROWS, F + 1).
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


def _training_days(observed: Any) -> tuple[datetime, datetime] | None:
    """The first and last day of a provenance's `observed.train`, such as 2017-11-14 to 2018-03-13."""
    train = observed.get("train") if isinstance(observed, Mapping) else None
    try:
        first, last = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in str(train).split(" to "))
    except ValueError:  # another format, or unknown
        return None
    return first, last


def _middle(feature: Feature, distributions: Mapping[str, Distribution]) -> tuple[float, float]:
    """The range of the middle 99% of the training rows; infinite if the feature never warns about it."""
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
