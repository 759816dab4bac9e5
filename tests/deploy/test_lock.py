"""The serving container's packages: all of them locked by hash, none too many, and installed no other way."""

import re
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.house import ROOT
from tests.support.requirements import pins

LOCK = (ROOT / "requirements/serve.lock").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
PINNED = re.compile(r"^[a-z0-9-]+==[0-9][0-9.]*$")


def locked() -> dict[str, str]:
    """Package to version, as the lock has it."""
    return {name: version for name, version, _ in ENTRY.findall(LOCK)}


def served() -> dict[str, str]:
    """Package to version: what serving and its shared cache need, directly or not, as it is pinned."""
    rows = [Requirement(pin) for pin in pins(ROOT / "requirements/constraints.txt")]
    known = {canonicalize_name(row.name): str(row.specifier).removeprefix("==") for row in rows}
    files = ("requirements/serve.txt", "requirements/cache.txt")
    waiting = [(Requirement(pin), "") for name in files for pin in pins(ROOT / name)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted, extra = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        waiting += [(Requirement(name), each) for each in wanted.extras]
        for line in requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting.append((needed, ""))
    return {name: known[name] for name, _ in seen}


def test_the_lock_is_entries_and_nothing_else() -> None:
    """Every line is a comment or part of `name==version` with sha256 hashes."""
    rest = ENTRY.sub("", LOCK)
    assert [line for line in rest.splitlines() if line and not line.startswith("#")] == []


def test_the_lock_holds_what_is_served() -> None:
    """All that the service needs at the versions that the tests ran with, and no package more."""
    assert locked() == served()


def test_the_container_serves_without_torch() -> None:
    """What only compiling and training need is not in the lock."""
    assert {"fastapi", "openvino", "pillow"} <= locked().keys()
    assert {"torch", "torchvision", "transformers", "nncf", "pytest"} & locked().keys() == set()


def test_the_container_installs_from_the_lock_alone() -> None:
    """The stage whose environment is served runs pip once, with hashes required and no build code run."""
    stage = re.search(r"^FROM base AS packages\n(.*?)^FROM", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert stage is not None
    (command,) = re.findall(r"\binstall (.*?)(?:&&|$)", stage[1].replace("\\\n", " "), re.MULTILINE)
    assert {"--require-hashes", "--only-binary", "/build/requirements/serve.lock"} <= set(command.split())
    assert re.findall(r"^COPY --from=(\w+) /venv", DOCKERFILE, re.MULTILINE) == ["packages"]


def test_the_auditors_tools_are_pinned() -> None:
    """They live in an environment of their own, so requirements/constraints.txt does not hold them."""
    assert [pin for pin in pins(ROOT / "requirements/audit.txt") if not PINNED.match(pin)] == []


def test_the_audit_looks_at_all_that_is_shipped_and_pinned() -> None:
    """Every Dockerfile, every list of what is installed."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^audit:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    patterns = ("Dockerfile", "deploy/**/Dockerfile", "*.lock", "constraints*.txt")
    there = [str(path.relative_to(ROOT)) for pattern in patterns for path in ROOT.glob(pattern)]
    assert [path for path in there if path not in recipe[1].split()] == []
