"""The findings and pictures of one report, for all its tests."""

from dataclasses import replace

import pytest

from tests.training.report import reported
from training.report.palette import drawn
from training.report.plots import PLOTS


@pytest.fixture(scope="package")
def found():
    return replace(reported.findings(), drift={})


@pytest.fixture(scope="package")
def pictures(found):
    return {name: drawn(plot, found) for name, plot in PLOTS.items()}
