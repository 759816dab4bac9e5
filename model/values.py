"""Values that come from a file: checked before they are used, shortened before they are shown."""

import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
"""A finite number; strings and booleans are refused."""
MAX_MESSAGE = 500  # characters


def short_repr(value: Any) -> str:
    """`value` for an error message, of bounded length."""
    shape = getattr(value, "shape", None)  # a tensor's or an array's, without importing torch
    if shape is not None:
        return f"a {type(value).__name__.lower()} of shape {tuple(shape)}"
    return reprlib.repr(value)


def to_plain(value: Any) -> Any:
    """`value` with NumPy's scalars and arrays as Python's, so that any JSON writer takes it; tensors stay."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def problem(error: ValidationError) -> tuple[str, str]:
    """The first unusable key and a sentence about it; the key is empty where keys are only missing."""
    found = [each for each in error.errors(include_url=False) if each["type"] != "default_factory_not_called"]
    wrong = [each for each in found if each["type"] != "missing" or len(each["loc"]) > 1]
    if not wrong:
        return "", f"lacks {', '.join(str(each['loc'][0]) for each in found)}"
    first = wrong[0]
    where = ".".join(str(part) for part in first["loc"])[: MAX_MESSAGE // 4]
    if first["type"] == "missing":
        sentence = f"{where} is missing"
    elif first["type"] == "value_error":
        sentence = f"{where} {first['ctx']['error']}".strip()
    else:
        expected = re.sub(r"^Input should be (?=greater|less)", "expected a number ", first["msg"])
        expected = expected.replace("Input should be", "expected")
        sentence = f"{where} is {short_repr(first['input'])}, {expected[0].lower()}{expected[1:]}".strip()
    return (str(first["loc"][0]) if first["loc"] else sentence.partition(" ")[0]), sentence[:MAX_MESSAGE]
