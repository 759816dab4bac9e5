"""The number that training gave each weekday: from a column of names, the weekends or an option."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from features.scaler import DEFAULT_CODES
from model.checkpoint.fitted import DAYS, day_of
from model.checkpoint.fitted import WEEKDAY as WEEKDAY  # re-exported
from training.data.cells import number, shown
from training.data.table import DatasetError

FloatArray = NDArray[np.float64]
Codes = tuple[float | None, ...]
"""Of Monday to Sunday, None for a day that does not occur."""
ENCODER = "the checkpoint's own encoder"
WEEKEND = "is_weekend"
FRIDAY = 4  # the first day of the first list's weekend
MAX_CODE = 7
# The code of Monday to Sunday, by --weekday-codes; `names` is scikit-learn's LabelEncoder of English names.
CODES: dict[str, Codes] = {
    "names": DEFAULT_CODES[WEEKDAY],
    "monday": (0, 1, 2, 3, 4, 5, 6),
    "sunday": (1, 2, 3, 4, 5, 6, 0),
    "iso": (1, 2, 3, 4, 5, 6, 7),
    "excel": (2, 3, 4, 5, 6, 7, 1),
}
# Added to a number in a column, so that it is not mistaken for the day that a name stands for.
IS_CODE = 100


class DayReader:
    """Reads the cells of a column of weekdays, and remembers how each day is written."""

    def __init__(self) -> None:
        self.spellings: dict[int, str] = {}

    def __call__(self, cell: str) -> float:
        """Monday 0 to Sunday 6 of an English name, or `IS_CODE` and a number from 0 to 7.

        Raises `ValueError`, also for a day that is written in two ways, which LabelEncoder codes as two.
        """
        day = day_of(cell)
        if day is not None:
            first = self.spellings.setdefault(day, cell)
            if first != cell:
                raise ValueError(f"is {shown(cell)}, and elsewhere {shown(first)}; write each day in one way")
            return float(day)
        try:
            value = number(cell)
        except ValueError:
            value = math.nan
        if value not in range(MAX_CODE + 1):
            raise ValueError(
                f"is {shown(cell)}, expected an English weekday's name or its code, 0 to {MAX_CODE}"
            )
        return value + IS_CODE


def coded_days(
    column: FloatArray,
    weekend: FloatArray | None,
    spellings: Mapping[int, str],
    option: str | None,
    own: Codes | None = None,
) -> tuple[FloatArray, FloatArray, str]:
    """The days (N,), Monday 0, the code of each of the seven in training, and a sentence about the codes.

    `column` and `spellings` are what a `DayReader` read; `weekend` tells codings apart. Raises
    `DatasetError` if neither `option` (one of `CODES`), the checkpoint's `own` codes, names nor weekends
    determine the codes.
    """
    is_code = column >= IS_CODE
    if is_code.any() and not is_code.all():
        raise DatasetError(
            f"{WEEKDAY} has {is_code.sum():,} numbers and {(~is_code).sum():,} names, expected one kind. "
            "Correct the column."
        )
    if is_code.all():
        table, source = _numbers_table(column - IS_CODE, weekend, option, own)
        days = np.array([table.index(code) for code in column - IS_CODE], dtype=np.float64)
    else:
        days, (table, source) = column, _names_table(spellings, option, own)
        unknown = sorted({DAYS[int(day)].capitalize() for day in days if table[int(day)] is None})
        if unknown:
            raise DatasetError(
                f"{WEEKDAY} holds {', '.join(unknown)}, for which {source} has no code. Use the file "
                "that the checkpoint was trained on."
            )
    codes = np.array([math.nan if code is None else code for code in table])
    return days, codes, f"{WEEKDAY} is coded {_shown(table)} ({source})"


def _numbers_table(
    codes: FloatArray, weekend: FloatArray | None, option: str | None, own: Codes | None
) -> tuple[Codes, str]:
    """The code of Monday to Sunday for a column of codes, and their source. Raises `DatasetError`."""
    fitting = [name for name, table in CODES.items() if _agrees(codes, weekend, table)]
    if option:
        table, source = CODES[option], f"--weekday-codes {option}"
    elif own:
        table, source = own, ENCODER
    elif len(fitting) == 1 and weekend is not None:
        table, source = CODES[fitting[0]], f"the only coding that agrees with {WEEKEND}"
    else:
        raise DatasetError(
            f"{WEEKDAY} holds numbers, and {' and '.join(fitting) or 'no known coding'} fit "
            f"{WEEKEND if weekend is not None else 'them'}. Name the coding with --weekday-codes: names for "
            "scikit-learn's LabelEncoder of English names (Friday 0, Monday 1, ...), monday for Monday 0, "
            "sunday for Sunday 0, iso for Monday 1 to Sunday 7, excel for Sunday 1 to Saturday 7."
        )
    unknown = sorted(set(codes.tolist()) - set(table))
    if unknown:
        found = ", ".join(f"{code:g}" for code in unknown)
        raise DatasetError(
            f"{WEEKDAY} holds {found}, but {source} has {_shown(table)}. Name another coding with "
            "--weekday-codes, or correct the column."
        )
    return table, source


def _names_table(spellings: Mapping[int, str], option: str | None, own: Codes | None) -> tuple[Codes, str]:
    """The same for a column of names, by default LabelEncoder's: the position among the names that occur."""
    if option not in (None, "names"):
        return CODES[option], f"--weekday-codes {option}"
    if own and not option:
        return own, ENCODER
    present = sorted(spellings, key=spellings.__getitem__)
    table = tuple(present.index(day) if day in present else None for day in range(len(DAYS)))
    return table, "assumed from its names, as LabelEncoder sorts them; see --weekday-codes"


def _agrees(codes: FloatArray, weekend: FloatArray | None, table: Codes) -> bool:
    if not set(codes.tolist()) <= set(table):
        return False
    is_weekend = [code in table[FRIDAY:] for code in codes.tolist()]
    return weekend is None or is_weekend == (weekend > 0).tolist()


def _shown(table: Codes) -> str:
    """A coding in the order of its codes; days that do not occur are left out."""
    known = sorted((code, DAYS[day].capitalize()) for day, code in enumerate(table) if code is not None)
    return ", ".join(f"{day} {code:g}" for code, day in known)
