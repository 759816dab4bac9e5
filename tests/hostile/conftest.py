"""What the long suite shares: the ledger of promises, and the full-size demo to keep them with."""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from model.checkpoint.file import check_file
from model.compile.__main__ import compile_checkpoint
from model.compiled.bundle import bundle_directory
from tests.hostile.ledger import LEDGER, Ledger
from tests.hostile.promises import PROMISES
from tests.support.service import ROOT


class Record(Protocol):
    """How a test says what it measured; a promise that is missed fails the test."""

    def __call__(self, name: str, *, wanted: str | None = None, figure: str, kept: bool) -> None:
        """`wanted` names the part where tests/hostile/promises.py has several."""


@pytest.fixture
def promise(request: pytest.FixtureRequest) -> Record:
    """Writes a row of the table that `make hostile` prints; without that command it judges alone."""
    return request.config.stash.get(LEDGER, Ledger(PROMISES)).record


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, composed and compiled; what `make model` made of the same file will do."""
    path = tmp_path_factory.mktemp("models") / "model_full.pt"
    subprocess.run([sys.executable, "-m", "model.demo", "--out", str(path)], cwd=ROOT, check=True)
    directory = bundle_directory(ROOT / "models" / path.name, check_file(path, None))
    return compile_checkpoint(path, out=directory).directory
