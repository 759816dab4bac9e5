"""What the long suite shares: the ledger of promises, the full-size demo, services and probes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from model.compile.__main__ import compile_checkpoint
from tests.hostile.ledger import LEDGER, Ledger
from tests.hostile.probes import probed
from tests.hostile.promises import PROMISES
from tests.support.demo import demo_checkpoint
from tests.support.service import Service, ready_service

PROBES = pytest.StashKey[dict[str, list[float]]]()


class Record(Protocol):
    """How a test records what it measured; a missed promise fails the test."""

    def __call__(self, name: str, *, wanted: str | None = None, figure: str, kept: bool) -> None:
        """`wanted` names the part if tests/hostile/promises.py has several."""


@pytest.fixture
def promise(request: pytest.FixtureRequest) -> Record:
    """Writes a row of the table that `make hostile` prints; otherwise it only passes or fails the test."""
    return request.config.stash.get(LEDGER, Ledger(PROMISES)).record


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, composed and compiled as `make model` does."""
    return compile_checkpoint(demo_checkpoint(tmp_path_factory.mktemp("models"))).directory


@pytest.fixture(scope="session")
def tiny_service(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on the tiny checkpoint."""
    with ready_service(tmp_path_factory.mktemp("log") / "service.log", checkpoint=tiny_bundle) as running:
        yield running


@pytest.fixture
def probes(request: pytest.FixtureRequest, service: Service) -> Iterator[None]:
    """Probes the module's service while a test runs; `probe_times` keeps how long the answers took."""
    with probed(service) as times:
        yield
    request.config.stash.setdefault(PROBES, {})[request.node.nodeid] = times


@pytest.fixture
def probe_times(request: pytest.FixtureRequest) -> dict[str, list[float]]:
    """The answer times of /health/live in seconds, by the test that ran meanwhile."""
    return request.config.stash.setdefault(PROBES, {})
