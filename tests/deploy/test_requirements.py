"""Every version is pinned: direct ones, all in constraints.txt, and the container's packages by hash."""

import ast
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.house import ROOT, imported_packages
from tests.support.requirements import closure, pins

FILES = ["requirements/serve.txt", "requirements.txt", "requirements/dev.txt", "requirements/demo.txt"]
EVERY = ["requirements.txt", *(f"requirements/{path.name}" for path in ROOT.glob("requirements/*.txt"))]
PINNED = re.compile(r"^[A-Za-z0-9._-]+(\[[a-z,]+\])?==[0-9][A-Za-z0-9.]*$")
# A CUDA build of torch brings these and pins them itself.
OF_CUDA = re.compile(r"^(nvidia-|cuda-|triton$)")
LOCK = (ROOT / "requirements/serve.lock").read_text(encoding="utf-8")
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
# A row of the advisories: package, fixed version, advisory, description, our verdict.
ADVISORY = re.compile(
    r"^\| ([a-z0-9-]+) \| ([0-9][0-9.]*) \| ((?:CVE|GHSA)-\S+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE
)
ADVISORIES = ADVISORY.findall((ROOT / "docs/operations.md").read_text(encoding="utf-8"))


def versions(path: str) -> dict[str, str]:
    rows = [Requirement(pin) for pin in pins(ROOT / path)]
    return {canonicalize_name(row.name): str(row.specifier).removeprefix("==") for row in rows}


CONSTRAINTS = versions("requirements/constraints.txt")


def installed_for(files: Iterable[str]) -> dict[str, str]:
    """Package to installed version of what the files need, directly or not."""
    waiting = [(Requirement(pin), "") for name in files for pin in pins(ROOT / name)]
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted, extra = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, extra) in seen or OF_CUDA.match(name):
            continue
        seen.add((name, extra))
        try:
            package = distribution(name)
        except PackageNotFoundError:
            found[name] = "not installed"
            continue
        found[name] = package.version.partition("+")[0]
        waiting += [(Requirement(name), each) for each in wanted.extras]
        needed = [Requirement(line) for line in package.requires or []]
        waiting += [
            (each, "") for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})
        ]
    return found


def test_every_line_is_a_pin() -> None:
    assert [f"{name}: {pin}" for name in EVERY for pin in pins(ROOT / name) if not PINNED.match(pin)] == []


def test_every_requirement_is_in_the_constraints() -> None:
    """At the same version, and constraints.txt is installed along with each file."""
    wrong = {
        name: [row for row in versions(name).items() if row not in CONSTRAINTS.items()] for name in FILES
    }
    assert {name: rows for name, rows in wrong.items() if rows} == {}
    assert [name for name in FILES if ROOT / "requirements/constraints.txt" not in closure(ROOT / name)] == []


def test_indirect_requirements_are_in_the_constraints() -> None:
    """The tests run on exactly the pinned versions, indirect ones included."""
    installed = installed_for(["requirements/dev.txt"])
    assert {name: version for name, version in installed.items() if CONSTRAINTS.get(name) != version} == {}


def test_no_pin_is_older_than_a_listed_fix() -> None:
    """A version with a known vulnerability does not come back; the table covers any pinned package."""
    assert len(ADVISORIES) >= 50
    pinned = versions("requirements/constraints-scale.txt") | CONSTRAINTS
    low = [row for row in ADVISORIES if Version(pinned.get(row[0], "0")) < Version(row[1])]
    assert low == []


def test_only_pytorchs_index_is_named() -> None:
    """The machine's own settings choose the index, except for torch's CPU builds."""
    named = {}
    for path in [*FILES, "requirements/constraints.txt", "Makefile", "Dockerfile", "deploy"]:
        top = ROOT / path
        files = [file for file in top.rglob("*") if file.is_file()] if top.is_dir() else [top]
        text = "".join(file.read_text(encoding="utf-8") for file in files if "__pycache__" not in file.parts)
        named[path] = set(re.findall(r"https://[^\s\"'}]*(?:/whl|simple|pypi)[^\s\"'}]*", text))
    others = {path: found - {"https://download.pytorch.org/whl/cpu"} for path, found in named.items()}
    assert {path: found for path, found in others.items() if found} == {}


def test_the_lock_holds_what_is_served() -> None:
    """It has entries with sha256 hashes for what serving and its shared cache need, and no others."""
    rest = [line for line in ENTRY.sub("", LOCK).splitlines() if line and not line.startswith("#")]
    locked = {name: version for name, version, _ in ENTRY.findall(LOCK)}
    needed = installed_for(["requirements/serve.txt", "requirements/cache.txt"])
    assert rest == []
    assert locked == {name: CONSTRAINTS[name] for name in needed}
    assert {"fastapi", "openvino", "pillow"} <= locked.keys()
    assert {"torch", "torchvision", "transformers", "nncf", "pytest"} & locked.keys() == set()


def test_the_container_installs_only_from_the_lock() -> None:
    """The stage whose environment is served runs pip once, requires hashes and runs no build code."""
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    stage = re.search(r"^FROM base AS packages\n(.*?)^FROM", dockerfile, re.MULTILINE | re.DOTALL)
    assert stage is not None
    (command,) = re.findall(r"\binstall (.*?)(?:&&|$)", stage[1].replace("\\\n", " "), re.MULTILINE)
    assert {"--require-hashes", "--only-binary", "/build/requirements/serve.lock"} <= set(command.split())
    assert re.findall(r"^COPY --from=(\w+) /venv", dockerfile, re.MULTILINE) == ["packages"]


def test_the_audit_covers_all_that_is_shipped_and_pinned() -> None:
    """Every Dockerfile and every list of installed packages."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^audit:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    patterns = ("Dockerfile", "deploy/**/Dockerfile", "*.lock", "constraints*.txt")
    there = [str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)]
    assert [path for path in there if path not in recipe[1].split()] == []


def test_the_scrapers_step_is_one_file_with_the_tested_packages() -> None:
    """It imports the standard library, httpx and psycopg; clients/requirements.txt has the tested pins."""
    step = ast.parse((ROOT / "clients" / "trigger_inference.py").read_text(encoding="utf-8"))
    assert {name for _, name in imported_packages(step)} - sys.stdlib_module_names == {"httpx", "psycopg"}
    wanted = versions("clients/requirements.txt")
    assert wanted == {name: CONSTRAINTS[name] for name in wanted}
    assert closure(ROOT / "clients/requirements.txt") == [ROOT / "clients/requirements.txt"]
