"""What scikit-learn's fitted objects in a file say, as a card's keys.

An owner who saves them beside the weights writes a StandardScaler of the scalar columns, a MinMaxScaler of
the velocity and a LabelEncoder of the weekday. Their attributes are read; none of their code is.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from model.checkpoint.inert import Inert

WEEKDAY = "publish_dayofweek"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MIN_DAY_LETTERS = 3  # Mon, Tues


def statistics(objects: Iterable[Inert], names: Sequence[str]) -> dict[str, Any]:
    """`scalar_features`, `feature_stats` and `velocity` of fitted objects.

    `names` are the scalar columns, empty if only the scaler has their names.
    """
    found: dict[str, Any] = {}
    for fitted in objects:
        found |= _statistics(fitted, names)
    return found


def _statistics(fitted: Inert, names: Sequence[str]) -> dict[str, Any]:
    kind = fitted.origin.rpartition(".")[2]
    state = fitted.state if isinstance(fitted.state, dict) else {}
    if kind == "StandardScaler":
        return _moments(state.get("mean_"), state.get("scale_"), state, names)
    if kind == "RobustScaler":
        return _moments(state.get("center_"), state.get("scale_"), state, names)
    if kind == "MinMaxScaler":
        low, high = (np.ravel(state.get(name, [])) for name in ("data_min_", "data_max_"))
        if low.size == high.size == 1 and list(state.get("feature_range", [0, 1])) == [0, 1]:
            (smallest,), (largest,) = low, high
            return {"velocity": {"transform": "min-max", "low": float(smallest), "high": float(largest)}}
        return _moments(low, state.get("data_range_"), state, names)
    return {}


def _moments(mean: Any, scale: Any, state: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """A scaler's statistics by column; nothing if it scales other columns than the checkpoint reads."""
    own = [str(name) for name in np.ravel(state.get("feature_names_in_", []))]
    columns = own or list(names)
    if (
        not columns
        or np.size(mean) != len(columns)
        or np.size(scale) != len(columns)
        or not set(names) <= set(columns)
    ):
        return {}
    names = names or columns
    known = {
        name: {"mean": float(middle), "scale": float(spread)}
        for name, middle, spread in zip(columns, np.ravel(mean), np.ravel(scale), strict=True)
    }
    return {"scalar_features": list(names), "feature_stats": {name: known[name] for name in names}}


def with_weekday_codes(values: dict[str, Any], objects: Iterable[Inert]) -> dict[str, Any]:
    """`values` with the codes that a LabelEncoder of weekdays gave them, where the statistics have none."""
    codes = next(filter(None, map(_weekday_codes, objects)), None)
    stats = values.get("feature_stats")
    moments = stats.get(WEEKDAY) if isinstance(stats, dict) else None
    if codes is None or not isinstance(stats, dict) or not isinstance(moments, dict) or "codes" in moments:
        return values
    return {**values, "feature_stats": {**stats, WEEKDAY: {**moments, "codes": codes}}}


def _weekday_codes(fitted: Inert) -> list[float | None] | None:
    """The code of Monday to Sunday in a LabelEncoder's classes; None for a day that it has not seen."""
    if fitted.origin.rpartition(".")[2] != "LabelEncoder" or not isinstance(fitted.state, dict):
        return None
    classes = [str(name).strip().lower() for name in np.ravel(fitted.state.get("classes_", []))]
    days = [day for name in classes for day in DAYS if len(name) >= MIN_DAY_LETTERS and day.startswith(name)]
    if not classes or len(days) != len(classes):
        return None  # of another column
    return [float(days.index(day)) if day in days else None for day in DAYS]
