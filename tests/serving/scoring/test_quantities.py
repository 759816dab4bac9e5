"""Values as a person says them."""

import pytest

from features import REGISTRY
from serving.scoring.quantities import QUANTITIES, age, count, length, percent


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (0.0412, "0.0412"),
        (7, "7"),
        (1000, "1,000"),
        (999_999, "999,999"),
        (23_488_160, "23.5 million"),
        (1e9, "1 billion"),
        (2e12, "2 trillion"),
        (9.2e18, "9.2e+18"),
    ],
)
def test_counts_are_short(value: float, words: str) -> None:
    """Counts have separators, and words from a million on."""
    assert count(value) == words


def test_times_have_the_unit_that_fits() -> None:
    """Hours become days and years, seconds minutes and hours."""
    assert [age(hours) for hours in (6, 100, 36_460)] == ["6 hours", "4 days", "4.2 years"]
    assert [length(seconds) for seconds in (30, 600, 9000)] == ["30 seconds", "10 minutes", "2.5 hours"]
    assert percent(0.0014) == "0.14 %"


def test_every_quantity_is_a_feature() -> None:
    """No sentence is kept for a feature that there is not."""
    assert QUANTITIES.keys() <= REGISTRY.keys()


def test_flags_have_no_sentence() -> None:
    """What is 0 or 1 is never far from the training rows."""
    assert not [name for name in QUANTITIES if REGISTRY[name].unit == "0 or 1"]
