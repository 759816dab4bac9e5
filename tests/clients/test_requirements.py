"""clients/requirements.txt, which is installed where none of our other files are."""

import ast
import sys
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.house import ROOT
from tests.support.requirements import closure, pins

CLIENTS = ROOT / "clients"


def test_versions_are_those_that_the_tests_run_on() -> None:
    """Each pin is the one of requirements/constraints.txt, and no other file of ours is needed for it."""
    known = {
        pin.partition("==")[0]: pin.partition("==")[2] for pin in pins(ROOT / "requirements/constraints.txt")
    }
    wanted = {
        row.name: str(row.specifier)[2:] for row in map(Requirement, pins(CLIENTS / "requirements.txt"))
    }
    assert wanted == {name: known[name] for name in wanted}
    assert closure(CLIENTS / "requirements.txt") == [CLIENTS / "requirements.txt"]


def test_the_scrapers_step_is_one_file() -> None:
    """It imports the standard library, requests and psycopg, and nothing that lies beside it."""
    tree = ast.parse(Path(CLIENTS / "trigger_inference.py").read_text(encoding="utf-8"))
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names - sys.stdlib_module_names == {"requests", "psycopg"}
