"""A host for pictures in a process of its own, and a tiny compiled bundle."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.harness.contestants import free_port
from benchmarks.harness.processes import started
from tests.support.service import ROOT
from tests.support.tiny import write_tiny
from tests.support.tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The benchmark's thumbnail host, as a URL without a path."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("host") / "host.log"
    with started(
        [sys.executable, "-m", "benchmarks.harness.thumbnail_host", str(port)], os.environ, ROOT, log
    ) as tree:
        deadline = time.monotonic() + 20
        while not answers(url):
            assert tree.running, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield url


def answers(url: str) -> bool:
    """Whether anyone listens."""
    try:
        return httpx.get(f"{url}/0.jpg").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint as a file."""
    return write_tiny(tmp_path_factory.mktemp("models") / "model_full.pt")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint's towers in float32, exported and not judged."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle"))
