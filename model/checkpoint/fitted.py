"""What fitted objects in a file say, as a card's keys.

An owner who saves them beside the weights writes scikit-learn's StandardScaler of the scalar columns, a
MinMaxScaler of the velocity, and the codes of weekdays. Attributes are read; none of their code is run.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.checkpoint.inert import Inert, is_tensor
from model.checkpoint.names import LayoutError

WEEKDAY = "publish_dayofweek"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MIN_DAY_LETTERS = 3  # Mon, Tues
MAX_CODE = 7
# The attributes that are subtracted and divided by, each with the option that switches it off.
SCALERS = {
    "StandardScaler": (("mean_", "with_mean"), ("scale_", "with_std")),
    "RobustScaler": (("center_", "with_centering"), ("scale_", "with_scaling")),
    "MaxAbsScaler": (("", ""), ("scale_", "")),
}
NOT_ENCODERS = ("feature_stats", "distributions", "test_metrics", "golden", "provenance")

FloatArray = NDArray[np.float64]


def statistics(objects: Mapping[str, Inert], names: Sequence[str], own: Collection[str]) -> dict[str, Any]:
    """`scalar_features`, `feature_stats` and `velocity` of fitted objects by place, except the file's `own`.

    `names` are the scalar columns, empty if only the scaler has their names. Raises `LayoutError` for two
    objects that would give one key different values.
    """
    found: dict[str, Any] = {}
    places: dict[str, str] = {}
    for where, fitted in objects.items():
        for key, value in _statistics(fitted, names).items():
            if key in own:
                continue
            if found.setdefault(key, value) != value:
                raise LayoutError(
                    f"{places[key]} and {where} both give {key}, with different numbers. Save only the one "
                    "that the training used."
                )
            places.setdefault(key, where)
    return found


def _statistics(fitted: Inert, names: Sequence[str]) -> dict[str, Any]:
    state = _state(fitted)
    own = [str(name) for name in np.ravel(state.get("feature_names_in_", []))]
    if (
        _kind(fitted) == "MinMaxScaler"
        and _numbers(state.get("data_min_")).size == 1
        and not set(own) & set(names)
    ):
        low, high = (float(np.ravel(state[name])[0]) for name in ("data_min_", "data_max_"))
        is_share = list(state.get("feature_range", [0, 1])) == [0, 1]
        return {"velocity": {"transform": "min-max", "low": low, "high": high}} if is_share else {}
    moments, columns = _moments(fitted), own or list(names)
    if not columns or moments is None or not set(names) <= set(columns):
        return {}
    if any(values.shape != (len(columns),) for values in moments.values()):
        return {}
    known = {
        name: {key: float(values[index]) for key, values in moments.items()}
        for index, name in enumerate(columns)
    }
    names = names or columns
    return {"scalar_features": list(names), "feature_stats": {name: known[name] for name in names}}


def _moments(fitted: Any) -> dict[str, FloatArray] | None:
    """`mean` and `scale` (F,) of a scaler or a pipeline of scalers, and the range that it clips to."""
    if not isinstance(fitted, Inert):
        return None
    kind, state = _kind(fitted), _state(fitted)
    if kind == "Pipeline":
        return _composed([step[-1] for step in state.get("steps", [])])
    if kind == "MinMaxScaler":  # x * scale_ + min_
        factor, shift = (_numbers(state.get(name)) for name in ("scale_", "min_"))
        ends = {"low": "data_min_", "high": "data_max_"} if state.get("clip") else {}
        found = {end: _numbers(state.get(name)) for end, name in ends.items()}
        return {"mean": -shift / factor, "scale": 1 / factor, **found}
    if kind not in SCALERS:
        return None
    (subtracted, centred), (divided, scaled) = SCALERS[kind]
    mean, scale = (
        _numbers(state[name]) if state.get(option, True) and state.get(name) is not None else None
        for name, option in ((subtracted, centred), (divided, scaled))
    )
    size = max(0 if each is None else each.size for each in (mean, scale))
    return {
        "mean": np.zeros(size) if mean is None else mean,
        "scale": np.ones(size) if scale is None else scale,
    }


def _composed(steps: Sequence[Any]) -> dict[str, FloatArray] | None:
    """Scalers one after the other: ((x - m) / s - M) / S is (x - (m + s M)) / (s S)."""
    scalers = [_moments(step) for step in steps if step not in (None, "passthrough")]
    if not scalers or any(each is None or "low" in each for each in scalers):
        return None
    mean, scale = np.zeros(()), np.ones(())
    for each in scalers:
        assert each is not None, "checked above"
        mean, scale = mean + scale * each["mean"], scale * each["scale"]
    return {"mean": mean, "scale": scale}


def _numbers(values: Any) -> FloatArray:
    try:
        return np.ravel(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError):
        return np.empty(0)


def _kind(fitted: Inert) -> str:
    return fitted.origin.rpartition(".")[2]


def _state(fitted: Inert) -> dict[str, Any]:
    return fitted.state if isinstance(fitted.state, dict) else {}


def with_weekday_codes(values: dict[str, Any], metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """`values` with the codes of weekdays that a file's `metadata` has: a LabelEncoder, or a dict of names.

    Raises `LayoutError` for codes that contradict each other, and for an encoder of another kind.
    """
    stats = values.get("feature_stats")
    moments = stats.get(WEEKDAY) if isinstance(stats, Mapping) else None
    if not isinstance(stats, Mapping) or not isinstance(moments, Mapping):
        return values
    found = weekday_codes(metadata, is_given="codes" in moments)
    if found is None:
        return values
    where, codes = found
    given = moments.get("codes", codes)
    if not isinstance(given, list) or any(
        one != other for one, other in zip(given, codes, strict=False) if None not in (one, other)
    ):
        raise LayoutError(
            f"{where} codes Monday to Sunday as {codes}, and feature_stats.{WEEKDAY}.codes are {given}. "
            "Remove the wrong ones, from the file or from its .stats.json."
        )
    return {**values, "feature_stats": {**stats, WEEKDAY: {**moments, "codes": codes}}}


def weekday_codes(
    metadata: Mapping[Any, Any], *, is_given: bool = False
) -> tuple[str, list[float | None]] | None:
    """The place of a file's weekday codes, and the codes of Monday to Sunday; None for a day without one.

    With `is_given`, an encoder of the weekday that can't be read is ignored. Raises `LayoutError`.
    """
    found: tuple[str, list[float | None]] | None = None
    for where, value in _walk(metadata):
        codes = _codes(value, is_weekday=where.endswith(WEEKDAY))
        if codes is None and where.endswith(WEEKDAY) and _is_encoder(where, value) and not is_given:
            raise LayoutError(
                f"{where} is not an encoder of English weekday names. Give the codes of Monday to Sunday in "
                f'the .stats.json: {{"feature_stats": {{"{WEEKDAY}": {{"codes": [0, 1, 2, 3, 4, 5, 6]}}}}}}.'
            )
        if codes is not None and found is not None and found[1] != codes:
            raise LayoutError(
                f"{found[0]} codes Monday to Sunday as {found[1]}, {where} as {codes}. Save only the one "
                "that the training used."
            )
        found = found or (codes and (where, codes)) or None
    return found


def _walk(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """Every dict, list and record that may be an encoder, with its place."""
    if where and isinstance(value, Mapping | list | np.ndarray | Inert):
        yield where, value
    if isinstance(value, Mapping) and not any(map(is_tensor, value.values())):
        for key, item in value.items():
            if where or key not in NOT_ENCODERS:
                yield from _walk(item, f"{where}.{key}" if where else str(key))


def _codes(value: Any, *, is_weekday: bool) -> list[float | None] | None:
    """The codes of Monday to Sunday, None for a day that does not occur; None for anything else."""
    if isinstance(value, Inert):
        is_encoder = _kind(value) == "LabelEncoder"
        value, is_weekday = (_state(value).get("classes_") if is_encoder else None), True
    if isinstance(value, np.ndarray | list) and is_weekday:
        value = {name: code for code, name in enumerate(np.ravel(np.asarray(value, dtype=object)))}
    if not isinstance(value, Mapping) or len(value) < 2:
        return None
    if all(isinstance(name, str) for name in value.values()):  # from code to name
        value = {name: code for code, name in value.items()}
    days: dict[int, float] = {}
    for name, code in value.items():
        day = day_of(str(name))
        if day is None or not _is_code(code) or float(code) in days.values() or day in days:
            return None
        days[day] = float(code)
    return [days.get(day) for day in range(len(DAYS))]


def _is_encoder(where: str, value: Any) -> bool:
    return isinstance(value, Inert) or any(
        word in where.lower() for word in ("encod", "label", "class", "map", "code")
    )


def day_of(name: str) -> int | None:
    """Monday 0 to Sunday 6 for an English name or its beginning; None for any other word."""
    word = name.strip().lower()
    word = "wed" if word == "weds" else word
    found = (day for day, whole in enumerate(DAYS) if whole.startswith(word))
    return next(found, None) if len(word) >= MIN_DAY_LETTERS else None


def _is_code(code: Any) -> bool:
    text = str(code)
    return text.isdecimal() and int(text) <= MAX_CODE
