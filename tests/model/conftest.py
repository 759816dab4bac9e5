"""Bundles that several test modules read; each is compiled once."""

from pathlib import Path

import pytest

from model.compile.__main__ import compile_checkpoint
from model.compile.calibration_set import TITLES
from model.compiled.bundle import Bundle
from tests.support.tiny import write_tiny


@pytest.fixture(scope="session")
def exact(tiny_path: Path) -> Bundle:
    """The tiny checkpoint in float32; do not write into it."""
    return compile_checkpoint(tiny_path, precision="f32", threads=1)


@pytest.fixture(scope="session")
def text_only(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny checkpoint without an image tower, in float32; do not write into it."""
    path = write_tiny(tmp_path_factory.mktemp("text_only") / "m.pt", with_vision=False)
    return compile_checkpoint(path, precision="f32", threads=1)


@pytest.fixture(scope="session")
def few_titles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("titles") / "few.txt"
    path.write_text("\n".join(TITLES.read_text(encoding="utf-8").splitlines()[:60]), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def automatic(few_titles: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny checkpoint in the precisions that this machine chooses; do not write into it."""
    path = write_tiny(tmp_path_factory.mktemp("automatic") / "model_full.pt")
    return compile_checkpoint(path, titles=few_titles, threads=1)
