"""What the clients' tests share: one small real service, one PostgreSQL, the scraper's table."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from deploy.demo.database import Database
from tests.clients.command import FAST, Running, Trigger, ran, running
from tests.clients.door import Door, open_door
from tests.support.postgres import Candidates
from tests.support.service import Service, ready_service


@pytest.fixture(scope="session")
def service(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with ready_service(tmp_path_factory.mktemp("log") / "service.log", checkpoint=tiny_bundle) as running:
        yield running


@pytest.fixture
def door(service: Service) -> Iterator[Door]:
    with open_door(service.url) as opened:
        yield opened


@pytest.fixture
def candidates(database: Database) -> Candidates:
    table = Candidates(database.url)
    table.create()
    return table


@pytest.fixture
def trigger(door: Door, candidates: Candidates, tmp_path: Path) -> Trigger:
    """The command, by default with this door and this table."""
    settings = {"DATABASE_URL": candidates.url, "INFERENCE_API_URL": door.url}
    return partial(ran, "trigger_inference.py", *FAST, folder=tmp_path, **settings)


@pytest.fixture
def begun(door: Door, candidates: Candidates, tmp_path: Path) -> Callable[..., Running]:
    """The same while it runs."""
    settings = {"DATABASE_URL": candidates.url, "INFERENCE_API_URL": door.url}
    return partial(running, "trigger_inference.py", *FAST, folder=tmp_path, **settings)
