"""Fixtures that the tests of fit-stats share."""

import pytest

from tests.training.fit_stats.owners import owners_file


@pytest.fixture
def checkpoint(tmp_path):
    return owners_file(tmp_path / "model_full.pt")
