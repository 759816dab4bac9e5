"""What is needed for more than one machine is pinned, and nothing else needs it."""

import subprocess
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.install_requirements import pins
from tests.house import ROOT, imported_packages, modules, tree_of


def names(path: str) -> dict[str, str]:
    """Package to version."""
    rows = [Requirement(pin) for pin in pins(ROOT / path)]
    return {canonicalize_name(row.name): str(row.specifier) for row in rows}


def test_the_extra_changes_no_other_pin() -> None:
    """Its own constraints have nothing that constraints.txt has; each direct pin is in one of the two."""
    own, everyone = names("constraints-scale.txt"), names("constraints.txt")
    assert own.keys() & everyone.keys() == set()
    wanted = names("requirements-scale.txt")
    assert {name: (own | everyone).get(name) for name in wanted} == wanted
    assert all(version.startswith("==") for version in own.values())


def test_ray_is_imported_by_these_modules_alone() -> None:
    """Without the extra, everything else is as it was."""
    ours = [path for path in modules() if path.parts[:2] != ("tests", "scale")]
    importing = {
        str(path) for path in ours if any(name == "ray" for _, name in imported_packages(tree_of(path)))
    }
    assert importing == {"deploy/ray_serve.py", "deploy/ray_towers.py", "deploy/score_dataset/run.py"}


def test_without_ray_the_command_says_how_to_get_it() -> None:
    """One line, and exit code 2; sys.modules holds None for a module that cannot be imported."""
    script = "import sys; sys.modules['ray'] = None\nfrom deploy.score_dataset.__main__ import main\n"
    script += "sys.exit(main(['in.csv', 'out']))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (ran.returncode, ran.stderr) == (2, "scoring a dataset needs Ray: make scale-setup\n")
