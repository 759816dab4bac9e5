"""How the cells of a training CSV become the numbers that were trained on, or a sentence says why not."""

import math
from collections.abc import Callable, Sequence

from features.registry import Feature

WEEKDAY = "publish_dayofweek"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SHORTEST_DAY = 3  # Mon, Tues, Thurs
FLAG_UNIT = "0 or 1"
FLAGS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
# Beyond any count; sums of squares of such numbers are still finite.
LARGEST = 1e21

Parse = Callable[[str], float]


def parser_of(feature: Feature) -> Parse:
    """What reads a cell of this feature's column; it raises `ValueError` with a sentence's end."""
    read = number
    if feature.name == WEEKDAY:
        read = weekday
    elif feature.unit == FLAG_UNIT:
        read = flag

    def parse(cell: str) -> float:
        value = read(cell)
        if not feature.low <= value <= feature.high:
            raise ValueError(f"is {shown(cell)}, expected {_range(feature)}")
        return value

    return parse


def number(cell: str) -> float:
    """A finite number, written as Python writes it: no thousands separators, no unit."""
    text = cell.strip()
    if not text:
        raise ValueError("is empty, expected a number")
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"is {shown(cell)}, expected a number") from None
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise ValueError(f"is {shown(cell)}, expected a finite number of at most {LARGEST:g}")
    return value


def flag(cell: str) -> float:
    """1 or 0, from a number or from True, False, yes and no in any case."""
    word = FLAGS.get(cell.strip().lower())
    if word is not None:
        return word
    value = number(cell)
    if value not in (0.0, 1.0):
        raise ValueError(f"is {shown(cell)}, expected 0 or 1, true or false")
    return value


def weekday(cell: str) -> float:
    """Monday 0 to Sunday 6, from the day's name, its first letters or its number."""
    word = cell.strip().lower()
    if len(word) >= SHORTEST_DAY and word.isalpha():
        for day, name in enumerate(DAYS):
            if name.startswith(word.removesuffix("s") if word == "weds" else word):
                return float(day)
    try:
        value = number(cell)
    except ValueError:
        value = math.nan
    if value not in range(len(DAYS)):
        raise ValueError(f"is {shown(cell)}, expected a weekday's name, or Monday 0 to Sunday 6")
    return value


def shown(cell: str, longest: int = 40) -> str:
    """A cell for an error: on one line, and short."""
    return (
        "empty" if not cell.strip() else repr(cell if len(cell) <= longest else cell[: longest - 3] + "...")
    )


def some(names: Sequence[str]) -> str:
    """Names for a sentence; `none` when there are none."""
    return ", ".join(names) or "none"


def _range(feature: Feature) -> str:
    if math.isinf(feature.high):
        return f"at least {feature.low:g}"
    return f"{feature.low:g} to {feature.high:g}"
