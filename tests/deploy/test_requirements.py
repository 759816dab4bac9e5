"""Every version is pinned: the direct ones in requirements*.txt, all of them in constraints.txt."""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.house import ROOT
from tests.support.requirements import closure, pins

FILES = ["requirements/serve.txt", "requirements.txt", "requirements/dev.txt", "requirements/demo.txt"]
EVERY = ["requirements.txt", *(f"requirements/{path.name}" for path in ROOT.glob("requirements/*.txt"))]
PINNED = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==[0-9][A-Za-z0-9.]*$")
# A CUDA build of torch brings these and pins them itself.
OF_CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")


def constraints() -> dict[str, str]:
    """Package to version, as requirements/constraints.txt has it."""
    rows = [Requirement(pin) for pin in pins(ROOT / "requirements/constraints.txt")]
    return {canonicalize_name(row.name): str(row.specifier).removeprefix("==") for row in rows}


@pytest.mark.parametrize("name", EVERY)
def test_every_line_is_a_pin(name: str) -> None:
    """`name==version`, nothing looser."""
    assert [pin for pin in pins(ROOT / name) if not PINNED.match(pin)] == []


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_in_the_constraints(name: str) -> None:
    """At the same version: the two files cannot drift apart."""
    wanted = [Requirement(pin) for pin in pins(ROOT / name)]
    known = constraints()
    assert wanted
    assert [str(row) for row in wanted if known.get(canonicalize_name(row.name)) not in row.specifier] == []


@pytest.mark.parametrize("name", FILES)
def test_constraints_hold_in_every_file(name: str) -> None:
    """Whichever file is installed, requirements/constraints.txt comes along."""
    assert ROOT / "requirements/constraints.txt" in closure(ROOT / name)


def test_what_the_requirements_bring_is_in_the_constraints() -> None:
    """The tests run on exactly the versions that are pinned, down to the last indirect one."""
    known, wrong = constraints(), {}
    waiting = [(Requirement(pin), "") for pin in pins(ROOT / "requirements/dev.txt")]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted, extra = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, extra) in seen or OF_CUDA.match(name):
            continue
        seen.add((name, extra))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            wrong[name] = "not installed"
            continue
        if installed.version.partition("+")[0] != known.get(name):
            wrong[name] = f"installed {installed.version}, constraints say {known.get(name)}"
        waiting += [(Requirement(name), each) for each in wanted.extras]
        for line in installed.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting.append((needed, ""))
    assert wrong == {}


@pytest.mark.parametrize("path", [*FILES, "requirements/constraints.txt", "Makefile", "Dockerfile", "deploy"])
def test_no_index_but_pytorchs_is_named(path: str) -> None:
    """Where packages come from is the machine's own setting; only torch's CPU index is ours to name."""
    top = ROOT / path
    files = [file for file in top.rglob("*") if file.is_file()] if top.is_dir() else [top]
    text = "".join(file.read_text(encoding="utf-8") for file in files if "__pycache__" not in file.parts)
    assert set(re.findall(r"https://[^\s\"'}]*(?:/whl|simple|pypi)[^\s\"'}]*", text)) <= {
        "https://download.pytorch.org/whl/cpu"
    }


def test_a_requirement_may_be_in_an_included_file(tmp_path: Path) -> None:
    """`pins` follows -r, ignores comments, and takes no constraint for a requirement."""
    (tmp_path / "constraints.txt").write_text("other==9\n")
    (tmp_path / "low.txt").write_text("-c constraints.txt\ntorch==2.0  # why\n\n")
    (tmp_path / "high.txt").write_text("# head\n-r low.txt\npillow==1.0\n")
    assert list(pins(tmp_path / "high.txt")) == ["torch==2.0", "pillow==1.0"]
    assert [file.name for file in closure(tmp_path / "high.txt")] == [
        "high.txt",
        "low.txt",
        "constraints.txt",
    ]
