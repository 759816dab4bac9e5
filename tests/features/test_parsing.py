"""Counts, durations, times and texts, as requests and training files write them: one table for each."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from features.parsing import (
    MAX_COUNT,
    contradictions,
    has_visible_text,
    is_unknown_cell,
    parse_count,
    parse_duration,
    parse_number,
    parse_share,
    parse_text,
    parse_time,
)
from training.data.fields import FIELDS

REFUSED = "refused"
Table = list[tuple[Any, Any]]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = datetime(2026, 3, 1, tzinfo=UTC)


def read_as(expected: Any, *values: Any) -> Table:
    """A row for each of `values`."""
    return [(value, expected) for value in values]


COUNTS = [
    *read_as(None, None, "", "  "),
    *read_as(0, 0, 0.0, "0", "0.0"),
    *read_as(
        120_000, 120_000, 120_000.0, 1.2e5, "120000", " 120000 ", "120000.0", "120000.00", "120000.0000"
    ),
    *read_as(120_000, "120,000", "120,000.0", "1.2E+05", "1.2e5"),
    *read_as(120_000, "١٢٠٠٠٠", "١٢٠٬٠٠٠", "१२००००", "１２００００"),
    *read_as(1_234_567, "1,234,567"),
    *read_as(MAX_COUNT, MAX_COUNT, str(MAX_COUNT)),
    *read_as(REFUSED, "1.2K", "2.5M views", "12k", "many", "N/A", "nan", "null", "-", "1 200", "½"),
    *read_as(REFUSED, -1, "-1", 0.5, "0.5", "1.55e1", float("nan"), float("inf"), "inf", "1e30", 1e300),
    *read_as(REFUSED, MAX_COUNT + 1, str(MAX_COUNT + 1), 10**400, "9" * 5000, "1e999"),
    # 120.000 is 120 in one country and 120,000 in another.
    *read_as(REFUSED, "120.000", "1.234.567", "12,00", "1,20,000", "0,123", "1_000", "+5", "0x10"),
    *read_as(REFUSED, True, False, [], {}, [5]),
]
DURATIONS = [
    *read_as(None, None, "", " ", "P0D", "PT0S"),
    *read_as(90.0, 90, 90.0, "90", "90.0", "9e1", "PT1M30S", "pt1m30s", "PT90S", "00:01:30", "1:30", "٩٠"),
    *read_as(0.0, 0, "0"),
    *((58.4, 58.4), ("PT45.5S", 45.5), ("P1DT1H", 90_000.0), ("1:00:00", 3600.0)),
    *read_as(1.7976931348623157e308, 1.7976931348623157e308),
    *read_as(REFUSED, -1, "-1", "90 s", "1m30s", "PT", "P", "T1M", "1:2", "1:99", "1:60:00", "N/A", True, []),
    *read_as(REFUSED, float("nan"), float("inf"), "1e999", 10**400),
]
TIMES = [
    *read_as(None, None, "", " \t"),
    *read_as(
        NOON, "2026-03-01T12:00:00Z", "2026-03-01T12:00:00z", " 2026-03-01T12:00:00Z ", "2026-03-01T12:00Z"
    ),
    *read_as(NOON, "2026-03-01 12:00:00+00", "2026-03-01 12:00:00+00:00", "2026-03-01 12:00 UTC"),
    *read_as(NOON, "2026-03-01T14:00:00+02:00", "2026-03-01T14:00:00+0200", "2026-03-01T07:00-05"),
    *read_as(NOON, "2026-03-01T12:00:00.000Z", "2026-03-01 12:00:00.000000000 +0000"),
    *read_as(NOON, "2026-03-01T12:00:00", "2026-03-01 12:00"),  # without an offset: UTC
    *read_as(NOON, 1772366400, 1772366400.0, 1772366400000, "1772366400", "1772366400000", "1772366400.0"),
    *read_as(NOON + timedelta(microseconds=123_456), "2026-03-01T12:00:00.123456789Z"),
    *read_as(NOON + timedelta(microseconds=500_000), "2026-03-01T12:00:00,5Z"),
    *read_as(DAY, "2026-03-01", "20260301", "2026-03-01T00:00:00", 1772323200),
    *read_as(REFUSED, "2026", 2026, 46082.5, "46082.5", 0, "0", -1, 1772366400000000, "202603"),
    *read_as(REFUSED, "01/03/2026", "03-01-2026", "1 March 2026", "yesterday", "2026-W09-7", "12:00"),
    *read_as(REFUSED, "2026-13-01", "20260230", "2026-03-01T25:00Z", "2026-03-01T12:00+25:00"),
    *read_as(REFUSED, "N/A", "Sun, 01 Mar 2026 12:00:00 GMT", "2026-03-01T12", True, [], {}),
    *read_as(REFUSED, float("nan"), float("inf"), 1e308, 10**400, "9" * 5000),
]
SHARES = [
    *((None, None), ("", None), (0, 0.0), (1, 1.0), ("0.62", 0.62)),
    *read_as(REFUSED, 1.01, -0.1, 62, "62%", float("nan"), True),
]
NUMBERS = [
    *((None, None), (" ", None), (0, 0.0), ("12000.5", 12000.5), (1e300, 1e300)),
    *read_as(REFUSED, -0.5, "many", float("inf"), False),
]


def differing(parse: Callable[[Any], Any], table: Table) -> list[tuple[str, Any, Any]]:
    """The rows of a table that are read differently, with the value found."""
    failures = []
    for value, expected in table:
        try:
            found = parse(value)
        except ValueError as exc:
            found = REFUSED if str(exc).startswith("expected ") else str(exc)
        if found != expected or type(found) is not type(expected):
            failures.append((ascii(value)[:40] if not isinstance(value, int) else "int", found, expected))
    return failures


def test_counts() -> None:
    """Whole numbers as JSON, spreadsheets and pandas write them, in any script's digits; no abbreviations."""
    assert differing(parse_count, COUNTS) == []


def test_durations() -> None:
    """Seconds, clock notation or ISO 8601; YouTube's P0D means that there is no length yet."""
    assert differing(parse_duration, DURATIONS) == []


def test_times() -> None:
    """ISO 8601, days and Unix time from 2005 on; nothing else becomes a date."""
    assert differing(parse_time, TIMES) == []


def test_shares_and_numbers() -> None:
    assert differing(parse_share, SHARES) + differing(parse_number, NUMBERS) == []


def test_a_training_cell_means_what_a_request_means() -> None:
    """Every text in the tables is read the same in both; only a cell has words for unknown."""
    tables = {"view_count": COUNTS, "duration_seconds": DURATIONS, "published_at": TIMES}
    failures = [
        (name, *each)
        for name, table in tables.items()
        for each in differing(
            lambda cell, name=name: _or_refused(FIELDS[name].parse, cell),
            [(value, expected) for value, expected in table if isinstance(value, str) and value != "N/A"],
        )
        if not is_unknown_cell(each[0].strip("'"))
    ]
    assert failures == []
    words = ("", " ", "N/A", "n/a", "NA", "NaN", "null", "None", "-", "#N/A", "\\N", "NaT")
    assert [word for word in words if FIELDS["view_count"].parse(word) is not None] == []


def _or_refused(parse: Callable[[str], Any], cell: str) -> Any:
    """A field's value; a training file's error also shows the cell."""
    try:
        return parse(cell)
    except ValueError as exc:
        said = str(exc)
        raise ValueError(said[said.index("expected ") :]) from exc


def test_texts_have_one_normal_form() -> None:
    """A decomposed title becomes the composed one, and half an emoji a replacement character."""
    texts = {
        "cafe\u0301": "caf\u00e9",
        "caf\u00e9": "caf\u00e9",
        "cut \ud83d": "cut \ufffd",
        "\ud83d\ude00": "\U0001f600",
    }
    assert {text: parse_text(text) for text in texts} == texts


def test_invisible_characters_are_not_text() -> None:
    """Spaces, zero-width and control characters show nothing; an emoji does."""
    invisible = ("", " ", "\t\n", "\u200b\u200d", "\ufeff", "\u3000", "\u2060 \u00ad", "\x00\x1f")
    visible = ("a", " a ", "\U0001f525", "\u200ba", "1", "?", "\ufffd", "שלום")
    assert [text for text in invisible if has_visible_text(text)] == []
    assert [text for text in visible if not has_visible_text(text)] == []


NOW = datetime(2026, 3, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
LOOK = {"previous_view_count": 5, "previous_observed_at": NOON}
CONTRADICTIONS: list[tuple[Mapping[str, Any], list[str]]] = [
    ({}, []),
    ({"published_at": NOON, "observed_at": NOON + 24 * HOUR}, []),
    ({"published_at": NOON + 23 * HOUR, "observed_at": NOON}, []),  # a wrong clock or time zone
    ({"published_at": NOON + 25 * HOUR, "observed_at": NOON}, ["published_at"]),
    ({"published_at": NOW + 23 * HOUR}, []),
    ({"published_at": NOW + 25 * HOUR}, ["published_at"]),
    ({"observed_at": NOW + 25 * HOUR}, ["observed_at"]),
    ({"observed_at": NOW + 25 * HOUR, "published_at": NOW + 60 * HOUR}, ["observed_at"]),
    ({"previous_view_count": 5}, ["previous_observed_at"]),
    ({"previous_view_count": 0}, ["previous_observed_at"]),
    ({"previous_observed_at": NOON}, ["previous_view_count"]),
    (LOOK, []),
    ({**LOOK, "previous_view_count": 0, "observed_at": NOON + HOUR}, []),
    ({**LOOK, "observed_at": NOON + 0.9 * HOUR}, ["previous_observed_at"]),
    ({**LOOK, "observed_at": NOON - HOUR}, ["previous_observed_at"]),
    ({**LOOK, "previous_observed_at": NOW}, ["previous_observed_at"]),
    ({**LOOK, "published_at": NOON + 23 * HOUR}, []),
    ({**LOOK, "published_at": NOON + 25 * HOUR}, ["previous_observed_at"]),
]


def test_values_that_contradict_each_other_are_refused() -> None:
    """For times in the future and half a previous look, the field that is wrong is named."""
    failures = [
        (values, found)
        for values, expected in CONTRADICTIONS
        if (found := [name for name, _ in contradictions(values, NOW)]) != expected
    ]
    assert failures == []
