"""The runner of the long suite: a missed or unmeasured promise or a broken test makes the run fail."""

import contextlib
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.__main__ import run
from tests.hostile.ledger import Ledger

KNOWN = {"doors": ("closed at night",), "windows": ("shut in rain", "clean")}
ALL_KEPT = """
    promise("doors", figure="closed at 22:00", kept=True)
    promise("windows", wanted="shut in rain", figure="3 of 3", kept=True)
    promise("windows", wanted="clean", figure="1 speck", kept=True)
"""
HEAD = """
import pytest
from tests.hostile.conftest import promise

pytestmark = pytest.mark.hostile

def test_house(promise):
"""


INI = """
[pytest]
markers = hostile
addopts = -m 'not hostile' -p no:cacheprovider -p no:schemathesis -p no:cloudcoil --import-mode=importlib
"""


def ended(folder: Path, body: str, *arguments: str) -> tuple[int, str, dict[str, Any]]:
    """A suite of one test, run to its end: exit status, output, and the JSON of its last line."""
    # A new name each time: a process imports a module only once.
    (folder / f"test_{uuid.uuid4().hex}.py").write_text(HEAD + body)
    (folder / "pytest.ini").write_text(INI)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = run(str(folder), KNOWN, arguments)
    account: dict[str, Any] = json.loads(output.getvalue().splitlines()[-1])
    return status, output.getvalue(), account


def test_a_run_that_keeps_everything_ends_well(tmp_path: Path) -> None:
    """Every part measured and kept: status 0, a table in the promises' order, and JSON on the last line."""
    status, output, account = ended(tmp_path, ALL_KEPT)
    assert status == 0, output
    rows = [[cell.strip() for cell in line.split("|")] for line in output.splitlines() if " | " in line]
    assert rows[0] == ["promise", "wanted", "reached", "kept"]
    assert rows[2:] == [
        ["doors", "closed at night", "closed at 22:00", "yes"],
        ["windows", "shut in rain", "3 of 3", "yes"],
        ["windows", "clean", "1 speck", "yes"],
    ]
    assert account["kept"] is True
    assert account["promises"][0] == {
        "promise": "doors", "wanted": "closed at night", "reached": "closed at 22:00", "kept": True
    }  # fmt: skip


SWALLOWED = """
    with pytest.raises(AssertionError):
        promise("doors", figure="open", kept=False)
    promise("windows", wanted="shut in rain", figure="3 of 3", kept=True)
    promise("windows", wanted="clean", figure="1 speck", kept=True)
"""
FAILING = {
    "a promise is missed": ALL_KEPT.replace('"1 speck", kept=True', '"mud", kept=False'),
    "a miss is swallowed by its test": SWALLOWED,
    "nothing is measured": "    pass\n",
    "its test is skipped": "    pytest.skip('no namespaces')\n",
    "a test is broken": ALL_KEPT + "    raise OSError('broken')\n",
}


def test_a_run_fails(tmp_path: Path) -> None:
    """Whatever the test's outcome, a row that is missed or missing fails the run, and is shown."""
    runs = {}
    for name, body in FAILING.items():
        (tmp_path / name).mkdir()
        runs[name] = ended(tmp_path / name, body)
    wrong = [name for name, (status, _, account) in runs.items() if (status, account["kept"]) != (1, False)]
    assert wrong == []
    assert runs["a promise is missed"][2]["promises"][-1]["reached"] == "mud"
    assert "1 passed" in runs["a miss is swallowed by its test"][1]
    for name in ("nothing is measured", "its test is skipped"):
        assert {row["reached"] for row in runs[name][2]["promises"]} == {"not measured"}


def test_a_chosen_part_is_judged_alone(tmp_path: Path) -> None:
    """With arguments, promises that were not run do not count as missing."""
    body = '    promise("doors", figure="closed", kept=True)\n'
    status, output, account = ended(tmp_path, body, "-k", "house")
    assert status == 0, output
    assert [row["promise"] for row in account["promises"]] == ["doors"]


def test_an_unknown_promise_is_refused() -> None:
    """A name or a part that is not in the list is the test's mistake, and the error names the list."""
    ledger = Ledger(KNOWN)
    for name, wanted in (("roof", None), ("windows", None), ("windows", "blue")):
        with pytest.raises(KeyError, match=r"tests/hostile/promises\.py"):
            ledger.record(name, wanted=wanted, figure="1", kept=True)
