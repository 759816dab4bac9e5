"""The demo checkpoint and one real service that runs on it."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from model.compile.__main__ import compile_checkpoint
from tests.support.demo import demo_checkpoint
from tests.support.process import PLAIN, wait_until_ready
from tests.support.service import Service, started_service
from tests.support.thumbnail_host import ThumbnailHost, thumbnail_host


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo checkpoint as `make model` composes it."""
    return demo_checkpoint(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def bundle(demo: Path) -> Path:
    """The demo, compiled in automatic precision as `make model` does."""
    return compile_checkpoint(demo).directory


@pytest.fixture(scope="session")
def host() -> Iterator[ThumbnailHost]:
    """A local host for thumbnails."""
    with thumbnail_host() as running:
        yield running


@dataclass(frozen=True)
class Loaded:
    """A ready service, and every status that `GET /` gave while it started."""

    service: Service
    statuses: list[str]


@pytest.fixture(scope="session")
def loaded(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """A service on the compiled demo that may fetch thumbnails from this machine, watched while it loads."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    statuses: list[str] = []
    with started_service(log, checkpoint=bundle, thumbnail_trusted_networks="127.0.0.0/8") as service:

        def is_healthy() -> bool:
            with suppress(httpx.TransportError):
                statuses.append(httpx.get(service.url, verify=PLAIN).json()["status"])
            return statuses[-1:] == ["healthy"]

        wait_until_ready(service.process, log, is_healthy)
        yield Loaded(service, statuses)


@pytest.fixture(scope="session")
def service(loaded: Loaded) -> Service:
    """That service."""
    return loaded.service


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[httpx.Client]:
    """A client of that service."""
    with httpx.Client(base_url=service.url, timeout=120) as open_client:
        yield open_client
