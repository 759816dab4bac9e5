"""What the tests of more than one machine share."""

from pathlib import Path

import pytest

from tests.scale.figures import FIGURES, ROWS, Figure


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Writes a row of the table that `make scale-test` prints."""
    return request.config.stash.setdefault(FIGURES, {}).__setitem__


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> int:
    asked: int = request.config.getoption("rows", ROWS)
    return asked


@pytest.fixture(scope="session")
def model(tiny_bundle: Path) -> Path:
    """The tiny network as a compiled bundle."""
    return tiny_bundle
