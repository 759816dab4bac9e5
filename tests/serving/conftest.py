"""One real service on the tiny checkpoint, and one thumbnail host, for all tests of this package."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.service import Service, ready_service
from tests.support.thumbnail_host import ThumbnailHost, thumbnail_host


@pytest.fixture(scope="session")
def host() -> Iterator[ThumbnailHost]:
    with thumbnail_host() as running:
        yield running


@pytest.fixture(scope="session")
def service(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A ready service that may fetch thumbnails from this machine."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    with ready_service(
        log,
        checkpoint=tiny_path,
        precision="f32",  # quantisation is not meant for the tiny network's encoders
        thumbnail_trusted_networks="127.0.0.0/8",
        thumbnail_timeout_s=6,  # even a good picture takes a while on a busy machine
        request_timeout_s=300,  # 256 thumbnails take a while on a busy machine
        max_request_bytes=4 * 1024 * 1024,
        cors_origins="http://localhost:3000,https://*.vercel.app",
    ) as running:
        yield running


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=60) as open_client:
        yield open_client
