"""The full-size demo of `make model`, which `make test` has composed and compiled before the tests run."""

from pathlib import Path

from model.checkpoint.file import DEFAULT_CHECKPOINT
from model.demo import main
from tests.support.process import ROOT


def demo_checkpoint(folder: Path) -> Path:
    """`models/model_full.pt`, composed if missing; in `folder` if that file is not a demo."""
    for path in (ROOT / DEFAULT_CHECKPOINT, folder / "model_full.pt"):
        if main(["--out", str(path)]) == 0:
            return path
    raise AssertionError("the demo cannot be composed; see what it printed")
