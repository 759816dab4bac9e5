"""Counts and times read from text, as a training file holds them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from features.video import MAX_COUNT, parse_count, parse_time

COUNTS = {
    "0": 0,
    " 12 ": 12,
    "12.0": 12,
    "1e3": 1000,
    str(MAX_COUNT): MAX_COUNT,
    **dict.fromkeys(["", "-1", "0.5", "1,200", "many", "nan", "inf", "1e30", str(MAX_COUNT + 1)]),
}
TIMES = {
    "2018-01-31T06:00:00Z": datetime(2018, 1, 31, 6, tzinfo=UTC),
    " 2018-01-31 06:00 ": datetime(2018, 1, 31, 6, tzinfo=UTC),
    "20180131": datetime(2018, 1, 31, tzinfo=UTC),
    "2018-01-31T06:00:00+02:00": datetime(2018, 1, 31, 6, tzinfo=timezone(timedelta(hours=2))),
}


def test_a_count_is_a_whole_number() -> None:
    """From 0 to the largest bigint, also as a decimal or in scientific notation; anything else is refused."""
    failures = []
    for text, expected in COUNTS.items():
        try:
            found = parse_count(text)
        except ValueError:
            found = None
        if found != expected:
            failures.append((text, found, expected))
    assert failures == []


def test_a_time_is_iso_8601() -> None:
    """A time without a zone is UTC, blank text is no time, and Unix seconds are refused."""
    failures = [(text, parse_time(text), time) for text, time in TIMES.items() if parse_time(text) != time]
    assert failures == []
    assert parse_time(" ") is None
    for text in ("yesterday", "1517378400", "31/01/2018"):
        with pytest.raises(ValueError, match=r"."):
            parse_time(text)
