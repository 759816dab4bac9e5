"""The README's tree against the files."""

import re
from pathlib import Path

from tests.support.service import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = {"__init__.py", "__main__.py"}


def tree() -> dict[str, list[str]]:
    """Every folder of the README's tree with the files that are named below it."""
    block = re.search(r"```\n(app\.py .*?)```", README, re.DOTALL)
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
