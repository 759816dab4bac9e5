"""The benchmark's thumbnail host in a process of its own."""

import sys
from collections.abc import Iterator

import pytest

from tests.support.process import answers, free_port, started
from tests.support.service import ROOT


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its URL without a path."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("host") / "host.log"
    command = [sys.executable, "-m", "benchmarks.harness.thumbnail_host", str(port)]
    with started(command, log, lambda: answers(f"{url}/0.jpg"), cwd=ROOT):
        yield url
