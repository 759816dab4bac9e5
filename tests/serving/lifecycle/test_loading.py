"""A model whose loading starts before it is requested."""

import shutil
import threading
from pathlib import Path

import pytest

from model.checkpoint.file import CheckpointError
from serving.lifecycle.head_start import HeadStart
from serving.settings import Settings


def test_a_head_start_gives_what_it_has_begun_once(tiny_bundle: Path, tmp_path: Path) -> None:
    """It is used once, and only for the settings it began with; any other call loads from disk."""
    own = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    settings = Settings(checkpoint=str(own), threads=1)
    before = set(threading.enumerate())
    load = HeadStart(settings)
    for thread in set(threading.enumerate()) - before:
        thread.join()
    shutil.rmtree(own)
    other = load(settings.model_copy(update={"checkpoint": str(tiny_bundle)}))
    assert load(settings).card == other.card
    with pytest.raises(CheckpointError, match="no such file"):
        load(settings)


def test_a_head_start_that_fails_says_so_when_it_is_asked(tmp_path: Path) -> None:
    """The error is the one that loading raises."""
    load = HeadStart(Settings(checkpoint=str(tmp_path / "absent.pt")))
    with pytest.raises(CheckpointError, match=r"absent\.pt: no such file"):
        load(Settings(checkpoint=str(tmp_path / "absent.pt")))
