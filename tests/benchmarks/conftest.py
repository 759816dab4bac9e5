"""A host for pictures in a process of its own, and a tiny compiled bundle."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import answers, free_port, started
from tests.support.service import ROOT


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The benchmark's thumbnail host, as a URL without a path."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("host") / "host.log"
    command = [sys.executable, "-m", "benchmarks.harness.thumbnail_host", str(port)]
    with started(command, log, lambda: answers(f"{url}/0.jpg"), cwd=ROOT):
        yield url


@pytest.fixture(scope="session")
def checkpoint(tiny_path: Path) -> Path:
    """The tiny checkpoint as a file."""
    return tiny_path


@pytest.fixture(scope="session")
def bundle(tiny_bundle: Path) -> Path:
    """The same, compiled in float32."""
    return tiny_bundle
