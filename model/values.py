"""Plain values that come from a file: checked before they are used, shortened before they are shown."""

import numbers
import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def finite_number(value: Any) -> float | None:
    """`value` as a float, or None when it is no finite number; NumPy's scalars count, True does not."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):  # an integer of four hundred digits
        return None
    return number if np.isfinite(number) else None


def whole_number(value: Any) -> int | None:
    """`value` as an int, or None when it is none; True does not count."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return None
    return int(value)


def shown(value: Any) -> str:
    """`value` as it may stand in an error: bounded in length, whatever a file holds."""
    shape = getattr(value, "shape", None)  # a tensor's or an array's; torch is not imported to ask
    if shape is not None:
        return f"a {type(value).__name__.lower()} of shape {tuple(shape)}"
    return reprlib.repr(value)


def plain(value: Any) -> Any:
    """`value` with NumPy's scalars as Python's own, so that any JSON writer takes it; tensors stay."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
