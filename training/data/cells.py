"""Numbers and flags from the text cells of a training file, and how names and cells are shown in errors."""

import math
import re
from collections.abc import Sequence

DECIMAL_COMMA = re.compile(r"-?\d+,\d+(?:[eE][-+]?\d+)?")
FLAGS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
# Beyond any count; sums of squares of such numbers are still finite.
MAX_NUMBER = 1e21


def number(cell: str) -> float:
    """A finite number as Python writes it: no thousands separators, no unit. Raises `ValueError`."""
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"is {shown(cell)}, expected a number") from None
    if not math.isfinite(value) or abs(value) > MAX_NUMBER:
        raise ValueError(f"is {shown(cell)}, expected a finite number of at most {MAX_NUMBER:g}")
    return value


def with_decimal_point(cell: str) -> str:
    """A number such as 0,5 with a point instead; any other cell as it is."""
    return cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell.strip()) else cell


def flag(cell: str) -> float:
    """1 or 0, from a number or from true, false, yes and no in any case. Raises `ValueError`."""
    word = FLAGS.get(cell.strip().lower())
    if word is not None:
        return word
    value = number(cell)
    if value not in (0.0, 1.0):
        raise ValueError(f"is {shown(cell)}, expected 0 or 1, true or false")
    return value


def shown(cell: str, limit: int = 40) -> str:
    """A cell for an error: on one line, and short."""
    if not cell.strip():
        return "empty"
    return repr(cell if len(cell) <= limit else cell[: limit - 3] + "...")


def listed(names: Sequence[str]) -> str:
    """Names for a sentence; `none` when there are none."""
    return ", ".join(names) or "none"
