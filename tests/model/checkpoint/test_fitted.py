"""Fitted objects saved with the weights: read as scikit-learn applies them, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    LabelEncoder,
    MaxAbsScaler,
    MinMaxScaler,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from model.checkpoint.fitted import DAYS, WEEKDAY, statistics, weekday_codes, with_weekday_codes
from model.checkpoint.inert import find_records
from model.checkpoint.metadata import read_outline
from model.checkpoint.names import LayoutError

NAMES = ["views", "likes", WEEKDAY]
ROWS = np.random.default_rng(3).lognormal(2, 1, (40, 3))
VELOCITY = MinMaxScaler().fit([[2.0], [900.0]])
SCALERS = {
    "StandardScaler": StandardScaler(),
    "StandardScaler without means": StandardScaler(with_mean=False),
    "StandardScaler without scales": StandardScaler(with_std=False),
    "RobustScaler": RobustScaler(),
    "RobustScaler without centres": RobustScaler(with_centering=False),
    "MaxAbsScaler": MaxAbsScaler(),
    "MinMaxScaler": MinMaxScaler(),
    "MinMaxScaler from -1 to 1": MinMaxScaler((-1, 1)),
    "MinMaxScaler that clips": MinMaxScaler(clip=True),
    "a pipeline of two": make_pipeline(RobustScaler(), StandardScaler(with_std=False)),
}


def saved(path: Path, **metadata: Any) -> dict[str, Any]:
    """What is read from a file with these objects."""
    torch.save(metadata, path)
    found: dict[str, Any] = read_outline(path)
    return found


def test_scalers_are_read_as_they_transform(tmp_path: Path) -> None:
    """For every scaler, clipping x to its range and then (x - mean) / scale equals its own `transform`."""
    failures = []
    for kind, scaler in SCALERS.items():
        records = dict(find_records(saved(tmp_path / "m.pt", scaler=scaler.fit(ROWS), bounds=VELOCITY)))
        found = statistics(records, NAMES, ())
        stats = [found["feature_stats"][name] for name in NAMES]
        mean, scale = (np.array([each[key] for each in stats]) for key in ("mean", "scale"))
        low, high = (
            [each.get(key, end) for each in stats] for key, end in (("low", -np.inf), ("high", np.inf))
        )
        others = 3 * ROWS - 2
        difference = (np.clip(others, low, high) - mean) / scale - scaler.transform(others)
        if np.abs(difference).max() > 1e-12 or found["velocity"]["high"] != 900:
            failures.append((kind, np.abs(difference).max()))
    assert failures == []


NOT_READ = {
    "another step": make_pipeline(SimpleImputer(), StandardScaler()).fit(ROWS),
    "other columns": StandardScaler().fit(ROWS[:, :2]),
    "a velocity from -1 to 1": MinMaxScaler((-1, 1)).fit([[2.0], [900.0]]),
}


def test_what_cannot_be_read_gives_nothing(tmp_path: Path) -> None:
    """Steps other than scalers, scalers of other columns, and a velocity range other than 0 to 1."""
    found = {
        case: statistics(dict(find_records(saved(tmp_path / "m.pt", scaler=each))), NAMES, ())
        for case, each in NOT_READ.items()
    }
    assert not any(found.values()), found


def test_two_objects_that_differ_are_refused(tmp_path: Path) -> None:
    """Of two that differ, neither is chosen by its position; the file's own key takes precedence."""
    older = MinMaxScaler().fit([[0.0], [5.0]])
    records = dict(find_records(saved(tmp_path / "m.pt", bounds=VELOCITY, older=older)))
    with pytest.raises(LayoutError, match="bounds and older both give velocity, with different numbers"):
        statistics(records, NAMES, ())
    assert statistics(records, NAMES, {"velocity"}) == {}


ENGLISH = [day.capitalize() for day in DAYS]
SORTED = [1, 5, 6, 4, 0, 2, 3]  # LabelEncoder's codes of Monday to Sunday
ENCODERS: dict[str, tuple[dict[str, Any], list[float | None] | None]] = {
    "a LabelEncoder": ({"encoder": LabelEncoder().fit(ENGLISH)}, SORTED),
    "short names": ({"encoder": LabelEncoder().fit([day[:3] for day in DAYS])}, SORTED),
    "its classes": ({"label_classes": {WEEKDAY: sorted(ENGLISH)}}, SORTED),
    "a dict": ({"maps": {"day": {day: code for code, day in enumerate(DAYS)}}}, [0, 1, 2, 3, 4, 5, 6]),
    "a dict from codes": ({"day_of": dict(enumerate(ENGLISH, start=1))}, [1, 2, 3, 4, 5, 6, 7]),
    "NumPy's integers": (
        {"map": {day: np.int64(code) for code, day in enumerate(DAYS)}},
        [0, 1, 2, 3, 4, 5, 6],
    ),
    "days in the order of a plot": ({"config": {"days": ENGLISH}}, None),
    "rows by day": ({"counts": dict.fromkeys(ENGLISH, 52)}, None),
    "another column's": ({"encoders": {"platform": LabelEncoder().fit(["TikTok", "YouTube"])}}, None),
}


def test_the_codes_of_weekdays_are_found(tmp_path: Path) -> None:
    """In encoders, their classes and plain dicts; other lists of days and counts by day are not codes."""
    failures = []
    for case, (metadata, expected) in ENCODERS.items():
        found = weekday_codes(saved(tmp_path / "m.pt", **metadata))
        if (found and found[1]) != expected:
            failures.append((case, found))
    assert failures == []


UNREADABLE = {
    "another language": {"encoders": {WEEKDAY: LabelEncoder().fit(["Lundi", "Mardi"])}},
    "numbers": {"encoders": {WEEKDAY: LabelEncoder().fit(range(7))}},
    "another encoder": {"encoders": {WEEKDAY: OrdinalEncoder().fit([["Monday"], ["Sunday"]])}},
}


def test_an_encoder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """It is never taken for English names; codes in the sidecar take its place."""
    values = {"feature_stats": {WEEKDAY: {"mean": 3, "scale": 2}}}
    given = {"feature_stats": {WEEKDAY: {"mean": 3, "scale": 2, "codes": SORTED}}}
    for metadata in UNREADABLE.values():
        read = saved(tmp_path / "m.pt", **metadata)
        with pytest.raises(LayoutError, match="is not an encoder of English weekday names"):
            with_weekday_codes(values, read)
        assert with_weekday_codes(given, read) == given


def test_codes_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """The codes of a file's encoder and those of its sidecar."""
    values = {"feature_stats": {WEEKDAY: {"mean": 3, "scale": 2, "codes": [0, 1, 2, 3, 4, 5, 6]}}}
    with pytest.raises(LayoutError, match=r"encoder codes Monday to Sunday as .* Remove the wrong ones"):
        with_weekday_codes(values, saved(tmp_path / "m.pt", encoder=LabelEncoder().fit(ENGLISH)))
