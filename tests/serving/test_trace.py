"""How many of our files one request enters."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.support.service import ROOT

COUNTS = r"(\d+) without a picture, (\d+) with one in the request.*?, (\d+) with a thumbnail to download"


def test_a_request_enters_the_number_of_files_that_the_architecture_gives(tiny_bundle: Path) -> None:
    """Without a picture, with one in the request, and with one to download."""
    trace = [sys.executable, "-m", "tests.support.trace_request", str(tiny_bundle)]
    done = subprocess.run(trace, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    text = " ".join((ROOT / "docs/architecture.md").read_text(encoding="utf-8").split())
    given = re.search(COUNTS, text)
    assert given is not None
    assert list(found.values()) == [int(count) for count in given.groups()], done.stdout
