"""How a feature's value is said to a person: 1,000 views rather than a logarithm of 6.9."""

import math
from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[float], str]
PER_HUNDRED = 100
DAY, YEAR = 24.0, 24 * 365.25  # hours
MINUTE, HOUR = 60.0, 3600.0  # seconds
LARGE = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a feature measures; of several that share a topic the first that is worth a sentence gets one."""

    what: str
    say: Say
    topics: frozenset[str]


def count(value: float) -> str:
    """1,000; 23.5 million; 3.2e+18."""
    if value >= LARGE[0][0] * 1000:
        return f"{value:.2g}"
    for size, name in LARGE:
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,.0f}" if value >= PER_HUNDRED or value == round(value) else f"{value:.3g}"


def age(hours: float) -> str:
    """Hours up to three days, days up to two years, then years."""
    if hours < 3 * DAY:
        return f"{count(hours)} hours"
    return f"{hours / DAY:.0f} days" if hours < 2 * YEAR else f"{count(round(hours / YEAR, 1))} years"


def length(seconds: float) -> str:
    """Seconds up to two minutes, minutes up to two hours, then hours."""
    if seconds < 2 * MINUTE:
        return f"{count(seconds)} seconds"
    return (
        f"{seconds / MINUTE:.0f} minutes"
        if seconds < 2 * HOUR
        else f"{count(round(seconds / HOUR, 1))} hours"
    )


def per_hundred(share: float) -> str:
    """0.08 as 8."""
    return count(share * PER_HUNDRED)


def percent(share: float) -> str:
    """0.08 as 8 %."""
    return f"{share * PER_HUNDRED:.3g} %"


def _exp(say: Say) -> Say:
    """Of a logarithm, what it is the logarithm of; no request can hold what overflows."""
    return lambda value: say(math.expm1(min(value, 700.0)))


def _of(topics: str, what: str, say: Say = count) -> Quantity:
    return Quantity(what, say, frozenset(topics.split()))


# In the order in which they are said. Flags, hours and weekdays are not here: none is far from the others.
QUANTITIES = {
    "log_view_count": _of("counts", "view count", _exp(count)),
    "views": _of("counts", "view count"),
    "log_like_count": _of("counts", "like count", _exp(count)),
    "likes": _of("counts", "like count"),
    "log_comment_count": _of("counts", "comment count", _exp(count)),
    "comments": _of("counts", "comment count"),
    "shares": _of("counts", "share count"),
    "saves": _of("counts", "save count"),
    "like_rate": _of("counts", "number of likes per 100 views", per_hundred),
    "comment_rate": _of("counts", "number of comments per 100 views", per_hundred),
    "comment_ratio": _of("counts", "number of comments per 100 views", per_hundred),
    "share_rate": _of("counts", "number of shares per 100 views", per_hundred),
    "save_rate": _of("counts", "number of saves per 100 views", per_hundred),
    "engagement_rate": _of("counts", "number of reactions per 100 views", per_hundred),
    "log_age_hours": _of("age", "video's age", _exp(age)),
    "log_views_per_hour": _of("counts age", "number of views per hour", _exp(count)),
    "log_duration_seconds": _of("duration", "video's length", _exp(length)),
    "duration_sec": _of("duration", "video's length", length),
    "completion_rate": _of("watching", "share that is watched", percent),
    "creator_avg_views": _of("creator", "creator's average view count"),
    "title_length": _of("title", "title's number of characters"),
    "title_word_count": _of("title", "title's number of words"),
    "description_word_count": _of("description", "description's number of words"),
}
