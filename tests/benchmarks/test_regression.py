"""What a request and a picture cost in bytecodes, held to what is stored."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.regression import STORED, Counter, slower
from tests.support.service import ROOT


def test_a_known_video_and_a_picture_cost_what_they_did(tiny_bundle: Path) -> None:
    """At most 5% more; `python -m benchmarks.regression BUNDLE --write` stores an intended increase."""
    command = [sys.executable, "-m", "benchmarks.regression", str(tiny_bundle)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() <= json.loads(STORED.read_text(encoding="utf-8")).keys()


def test_more_work_is_more_bytecodes() -> None:
    """Twice the loop is about twice the count, and a twentieth more is reported."""
    counts = []
    for times in (1000, 2000):
        counter = Counter()
        with counter.counting():
            _loop(times)
        counts.append(counter.bytecodes)
    assert 1.9 < counts[1] / counts[0] < 2.1
    assert slower({"a": 105, "b": 106}, {"a": 100, "b": 100}).keys() == {"b"}


def _loop(times: int) -> None:
    for _ in range(times):
        pass
