"""The number that training gave each weekday: from a column of names, from the weekends, or asked for."""

import math

import numpy as np
from numpy.typing import NDArray

from features.scaler import DEFAULT_CODES
from training.data.cells import number, shown
from training.data.table import DatasetError

FloatArray = NDArray[np.float64]
WEEKDAY, WEEKEND = "publish_dayofweek", "is_weekend"
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FRIDAY = 4  # with which the first list's weekend begins
MIN_DAY_LETTERS = 3  # Mon, Tues, Thurs
# The code of Monday to Sunday, by --weekday-codes; `names` is scikit-learn's LabelEncoder of English names.
CODES = {
    "names": DEFAULT_CODES[WEEKDAY],
    "monday": (0, 1, 2, 3, 4, 5, 6),
    "sunday": (1, 2, 3, 4, 5, 6, 0),
}
# Added to a number in a column, so that it is not mistaken for the day that a name stands for.
IS_CODE = 100


def weekday(cell: str) -> float:
    """Monday 0 to Sunday 6 of a day's name, or `IS_CODE` and a number from 0 to 6. Raises `ValueError`."""
    word = cell.strip().lower()
    if len(word) >= MIN_DAY_LETTERS and word.isalpha():
        for day, name in enumerate(DAYS):
            if name.startswith(word.removesuffix("s") if word == "weds" else word):
                return float(day)
    try:
        value = number(cell)
    except ValueError:
        value = math.nan
    if value not in range(len(DAYS)):
        raise ValueError(f"is {shown(cell)}, expected a weekday's name or its code, 0 to 6")
    return value + IS_CODE


def coded_days(
    column: FloatArray, weekend: FloatArray | None, option: str | None
) -> tuple[FloatArray, FloatArray, str]:
    """The days (N,), Monday 0, the code of each of the seven in training, and a sentence about the codes.

    `column` has what `weekday` read; `weekend` tells codings apart. Raises `DatasetError` where neither the
    names nor the weekends nor `option`, one of `CODES`, decide.
    """
    is_code = column >= IS_CODE
    if not is_code.any():
        return _named_days(column, option)
    if not is_code.all():
        raise DatasetError(
            f"{WEEKDAY} has {is_code.sum():,} numbers and {(~is_code).sum():,} names, expected one kind. "
            "Correct the column."
        )
    codes = column - IS_CODE
    fitting = [name for name, table in CODES.items() if _agrees(codes, weekend, table)]
    chosen = option or (fitting[0] if len(fitting) == 1 and weekend is not None else None)
    if chosen is None:
        raise DatasetError(
            f"{WEEKDAY} holds numbers, and {' and '.join(fitting) or 'no known coding'} fit "
            f"{WEEKEND if weekend is not None else 'them'}. Name the coding with --weekday-codes: names for "
            "scikit-learn's LabelEncoder of English names (Friday 0, Monday 1, ...), monday for Monday 0, "
            "sunday for Sunday 0."
        )
    table = CODES[chosen]
    days = np.array([table.index(int(code)) for code in codes], dtype=np.float64)
    source = "--weekday-codes" if option else f"the only coding that agrees with {WEEKEND}"
    return days, np.array(table, dtype=np.float64), f"{WEEKDAY} is coded {_shown(table)} ({source})"


def _named_days(days: FloatArray, option: str | None) -> tuple[FloatArray, FloatArray, str]:
    """Codes for a column of names, by default LabelEncoder's: the position among the names that occur."""
    present = sorted({int(day) for day in days}, key=lambda day: DAYS[day])
    codes = np.full(len(DAYS), np.nan)
    for code, day in enumerate(present):
        codes[day] = code
    if option in (None, "names"):
        source = "assumed from its names, as scikit-learn's LabelEncoder sorts them"
    else:
        codes, source = np.array(CODES[option], dtype=np.float64), "--weekday-codes"
    table = [-1 if math.isnan(code) else int(code) for code in codes]
    return days, codes, f"{WEEKDAY} was coded {_shown(table)} ({source}; see --weekday-codes)"


def _agrees(codes: FloatArray, weekend: FloatArray | None, table: tuple[int, ...]) -> bool:
    return weekend is None or bool((np.isin(codes, table[FRIDAY:]) == (weekend > 0)).all())


def _shown(table: list[int] | tuple[int, ...]) -> str:
    """A coding in the order of its codes; days that do not occur are left out."""
    known = sorted((code, DAYS[day].capitalize()) for day, code in enumerate(table) if code >= 0)
    return ", ".join(f"{day} {code}" for code, day in known)
