"""DriftWindow: what it compares, what it forgets, when it is silent."""

import numpy as np
import pytest

from features import Distribution, fit_distributions
from serving.scoring.warnings import FEWEST_ROWS, SCORE, WINDOW_ROWS, DriftWindow

NAMES = ("views", "age", "constant")
SEED = 3


def training_rows(count: int = 20_000) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Random views and ages, and a column that never varies."""
    draw = np.random.default_rng(SEED)
    return np.column_stack([draw.normal(10, 2, count), draw.uniform(0, 5, count), np.full(count, 30.0)])


@pytest.fixture
def window() -> DriftWindow:
    scores = Distribution.fit(np.linspace(0, 1, 1001))
    assert scores is not None
    return DriftWindow(NAMES, {**fit_distributions(training_rows(), NAMES), SCORE: scores})


def feed(window: DriftWindow, count: int, *, shift: float = 0.0, age: float | None = None) -> None:
    """Observe `count` rows like the training ones, with shifted views or another age."""
    draw = np.random.default_rng(SEED + 1)
    for row in training_rows(count):
        row[0] += shift
        row[1] = row[1] if age is None else age
        window.observe(row, float(draw.random()))


def test_too_few_rows_say_nothing(window: DriftWindow) -> None:
    """One row too few gives no index; one more gives all of them."""
    feed(window, FEWEST_ROWS - 1)
    assert window.stability() == {}
    feed(window, 1)
    assert set(window.stability()) == {"views", "age", SCORE}


def test_unchanged_rows_do_not_drift(window: DriftWindow) -> None:
    """Rows like the training ones stay below 0.1 in every feature and in the score."""
    feed(window, 2000)
    assert max(window.stability().values()) < 0.1


def test_the_shifted_feature_alone_drifts(window: DriftWindow) -> None:
    """A shift of the views by one standard deviation is significant; age and score stay as they were."""
    feed(window, 2000, shift=2.0)
    stability = window.stability()
    assert stability["views"] > 0.25
    assert max(stability["age"], stability[SCORE]) < 0.1


def test_unknown_ages_are_reported(window: DriftWindow) -> None:
    """Rows of unknown age make that feature drift: in training the age was always known."""
    feed(window, 2000, age=float("nan"))
    assert window.stability()["age"] > 0.25


def test_old_rows_are_forgotten(window: DriftWindow) -> None:
    """A window full of ordinary rows leaves no trace of the shifted ones before them."""
    feed(window, 3000, shift=20.0)
    feed(window, WINDOW_ROWS)
    assert window.rows == WINDOW_ROWS
    assert window.stability()["views"] < 0.1


def test_without_distributions_nothing_is_kept() -> None:
    """For a checkpoint without distributions, nothing is stored and there is no index."""
    window = DriftWindow(NAMES, {})
    feed(window, FEWEST_ROWS)
    assert window.rows == 0
    assert window.stability() == {}
