"""How a feature's value is shown to a person: 1,000 views rather than a logarithm of 6.9."""

import math
from collections.abc import Callable

Describe = Callable[[float], str]
DAY, YEAR = 24.0, 24 * 365.25  # hours
MINUTE, HOUR = 60.0, 3600.0  # seconds
LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))
MAX_EXPONENT = 700.0  # no request can hold what overflows


def count(value: float) -> str:
    """1,000; 23.5 million; 3.2e+18."""
    if value >= LARGE[0][0] * 1000:
        return f"{value:.2g}"
    for size, name in LARGE:
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:.3g}"


def age(hours: float) -> str:
    """Hours up to three days, days up to two years, then years."""
    if hours < 3 * DAY:
        return f"{count(hours)} hours"
    return f"{hours / DAY:.0f} days" if hours < 2 * YEAR else f"{count(round(hours / YEAR, 1))} years"


def length(seconds: float) -> str:
    """Seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds < 2 * MINUTE:
        return f"{count(seconds)} seconds"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} minutes"
    return f"{count(round(seconds / HOUR, 1))} hours"


def per_hundred(share: float) -> str:
    """0.08 as 8."""
    return count(share * 100)


def percent(share: float) -> str:
    """0.08 as 8%."""
    return f"{share * 100:.3g}%"


def from_log1p(describe: Describe) -> Describe:
    """Describes log1p(x) as x."""
    return lambda value: describe(math.expm1(min(value, MAX_EXPONENT)))
