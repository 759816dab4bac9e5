"""The tree in docs/architecture.md against the files, and the length of the README and the guide."""

import re
from pathlib import Path

from tests.support.service import ROOT

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SMALL = {"__init__.py", "__main__.py"}


def tree() -> dict[str, list[str]]:
    """Every folder of the tree with the names listed below it."""
    block = re.search(r"```\n(app\.py .*?)```", ARCHITECTURE, re.DOTALL)
    assert block is not None
    folders: dict[str, list[str]] = {"": []}
    folder = ""
    for line in block[1].splitlines():
        names = re.split(r"\s{2,}", line.strip())[0].split()
        if line.startswith("  "):
            folders[folder] += names
        else:
            folder = names[0]
            folders[folder] = []
    return folders


def test_everything_in_the_tree_exists() -> None:
    """No line of the tree names a file or folder that is gone."""
    paths = [Path(folder) / name for folder, names in tree().items() for name in ["", *names]]
    assert [str(path) for path in paths if not (ROOT / path).exists()] == []


def test_every_module_of_a_listed_package_is_in_the_tree() -> None:
    """A package whose modules are listed lists all of them."""
    missing = []
    for folder, names in tree().items():
        listed = {name for name in names if name.endswith(".py")}
        if listed:
            missing += [
                f"{folder}{path.name}"
                for path in (ROOT / folder).glob("*.py")
                if path.name not in SMALL | listed
            ]
    assert missing == []


def test_readme_and_guide_are_short() -> None:
    """The README stays under 150 lines and the deployment guide under 300."""
    limits = {"README.md": 150, "DEPLOYMENT_GUIDE.md": 300}
    lines = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in limits}
    assert [name for name, limit in limits.items() if lines[name] >= limit] == []
