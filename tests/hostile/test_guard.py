"""The guard, policy.py and urls.py: every branch is tested, and every change is noticed."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.hostile.conftest import Record
from tests.hostile.constant_mutants import GUARD
from tests.support.house import ROOT

pytestmark = pytest.mark.hostile
LIMIT_S = 600
TESTS = ("tests/preprocessing/thumbnails/test_addresses.py", "tests/preprocessing/thumbnails/test_urls.py")
# What else mutmut needs, in a separate tree: it writes next to what it reads.
BESIDE = (
    "preprocessing/__init__.py",
    "preprocessing/thumbnails/__init__.py",
    "preprocessing/image.py",
    "preprocessing/thumbnails/youtube.py",
    "tests/__init__.py",
    "tests/preprocessing/__init__.py",
    "tests/preprocessing/thumbnails/__init__.py",
    "tests/preprocessing/thumbnails/address_rows.py",
    "tests/preprocessing/thumbnails/hostile_urls.py",
)
# Error texts are not verdicts, and what they say about a URL has its own tests.
MUTMUT = f"""
[tool.mutmut]
source_paths = ["preprocessing"]
only_mutate = {list(GUARD)}
do_not_mutate_patterns = ['raise \\w+Error\\(']
pytest_add_cli_args = ["-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = ["tests/test_verdicts.py"]
also_copy = ["tests"]
"""
# Mutants that change no verdict, and why.
EQUIVALENT = {
    'text = location.decode("UTF-8")': "the same codec",
    'encoded = idna.encode(label, uts46=True).decode("ASCII")': "the same codec",
    "meaning = None": "a path without a segment does not end in dots",
    'meaning = "XXXX"': "a path without a segment does not end in dots",
    'host, colon, port = authority.partition("XX:XX")': "a port outside ASCII is refused in a label, too",
    'host = os.environ.get("SPACE_HOST", "").lower().rstrip("XX.XX")': "no X is left by then",
}


def run(arguments: Sequence[str], folder: Path, **variables: str) -> str:
    """What a Python module prints; fails with that text if the module fails."""
    ended = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


def test_every_branch_is_covered(tmp_path: Path, promise: Record) -> None:
    ours = {"COVERAGE_FILE": str(tmp_path / "coverage")}
    wanted = f"--include={','.join(GUARD)}"
    run(
        ["coverage", "run", "--branch", wanted, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
        ROOT,
        **ours,
    )
    run(["coverage", "json", "-o", str(tmp_path / "report.json")], ROOT, **ours)
    files = json.loads((tmp_path / "report.json").read_text())["files"]
    reached = {path: file["summary"] for path, file in files.items()}
    assert reached.keys() == set(GUARD)
    branches = sum(each["num_branches"] for each in reached.values())
    missing = {path: file["missing_lines"] + file["missing_branches"] for path, file in files.items()}
    promise(
        "guard module",
        wanted="100 % branch coverage",
        figure=f"{sum(each['covered_branches'] for each in reached.values())} of {branches} branches, "
        f"{sum(each['missing_lines'] for each in reached.values())} lines missing"
        + (f": {missing}" if any(missing.values()) else ""),
        kept=branches > 0 and not any(missing.values()),
    )


def test_no_mutant_of_a_function_survives(tmp_path: Path, promise: Record) -> None:
    for path in (*GUARD, *TESTS, *BESIDE):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copy(ROOT / "tests/hostile/guard_verdicts.py", tmp_path / "tests/test_verdicts.py")
    (tmp_path / "pyproject.toml").write_text(MUTMUT)
    run(["mutmut", "run", "--max-children", "1"], tmp_path)
    results = dict(
        re.findall(r"^\s+(\S+): (.+)$", run(["mutmut", "results", "--all", "true"], tmp_path), re.MULTILINE)
    )
    alive = {}
    for name, result in results.items():
        if result != "killed":
            shown = run(["mutmut", "show", name], tmp_path)
            change = " ".join(line[1:].strip() for line in shown.splitlines() if re.match(r"\+[^+]", line))
            if change not in EQUIVALENT:
                alive[change] = result
    promise(
        "guard module",
        wanted="no surviving mutant that changes a verdict",
        figure=f"{len(results)} of mutmut, {len(EQUIVALENT)} equivalent, {len(alive)} alive"
        + (f": {alive}" if alive else ""),
        kept=len(results) > 100 and not alive,
    )


def test_no_mutant_of_a_constant_survives(promise: Record) -> None:
    seen = json.loads(run(["tests.hostile.constant_mutants"], ROOT).splitlines()[-1])
    promise(
        "guard module",
        wanted="no changed constant that leaves every verdict unchanged",
        figure=f"{seen['tried']} changes, {seen['equivalent']} equivalent, {len(seen['alive'])} alive"
        + (f": {seen['alive']}" if seen["alive"] else ""),
        kept=seen["tried"] > 300 and not seen["alive"],
    )
