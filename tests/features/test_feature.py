"""How values are shown to a person."""

from features.feature import age, count, length, percent


def test_counts_are_short() -> None:
    expected = {
        0: "0",
        0.0412: "0.0412",
        7: "7",
        1000: "1,000",
        999_999: "999,999",
        23_488_160: "23.5 million",
        1e9: "1 billion",
        2e12: "2 trillion",
        9.2e18: "9.2e+18",
    }
    assert {value: count(value) for value in expected} == expected


def test_times_have_the_unit_that_fits() -> None:
    assert [age(hours) for hours in (6, 100, 36_460)] == ["6 hours", "4 days", "4.2 years"]
    assert [length(seconds) for seconds in (30, 600, 9000)] == ["30 seconds", "10 minutes", "2.5 hours"]
    assert percent(0.0014) == "0.14%"
