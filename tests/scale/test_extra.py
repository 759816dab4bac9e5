"""The packages for more than one machine are pinned, and nothing else needs them."""

import sys
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.process import ROOT, completed
from tests.support.requirements import pins
from tests.support.service import environment, ready_service

# What the extra names and no other requirements file names for serving, and its dependencies.
EXTRA = ("ray", "pyarrow", "pandas", "psycopg", "grpc", "aiohttp")
# Python imports sitecustomize first, in each process of the service.
ABSENCE = f"""
import sys
from importlib.machinery import PathFinder

class WithoutExtra(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {EXTRA} else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutExtra
"""


@pytest.fixture
def without_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that start now find none of `EXTRA`, whether it is installed or not."""
    (tmp_path / "sitecustomize.py").write_text(ABSENCE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def names(path: str) -> dict[str, str]:
    """Package to version."""
    rows = [Requirement(pin) for pin in pins(ROOT / path)]
    return {canonicalize_name(row.name): str(row.specifier) for row in rows}


def test_the_extra_changes_no_other_pin() -> None:
    """Its constraints repeat nothing of constraints.txt; each direct pin is in one of the two."""
    own, everyone = names("requirements/constraints-scale.txt"), names("requirements/constraints.txt")
    assert own.keys() & everyone.keys() == set()
    wanted = names("requirements/scale.txt")
    assert {name: (own | everyone).get(name) for name in wanted} == wanted
    assert all(version.startswith("==") for version in own.values())


def test_without_ray_the_command_says_how_to_get_it() -> None:
    """One line, and exit code 2; sys.modules holds None for a module that cannot be imported."""
    script = "import sys; sys.modules['ray'] = None\nfrom deploy.score_dataset.__main__ import main\n"
    script += "sys.exit(main(['in.csv', 'out']))"
    ran = completed([sys.executable, "-c", script])
    assert (ran.returncode, ran.stderr) == (2, "scoring a dataset needs Ray: make scale-setup\n")


@pytest.mark.usefixtures("without_extra")
def test_without_the_extra_the_service_answers(model: Path, tmp_path: Path) -> None:
    """Ready, and with a score, in a process that can import nothing that the extra brings."""
    refused = completed([sys.executable, "-c", "import pandas"], env=environment())
    assert refused.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'pandas'"
    with ready_service(tmp_path / "log", checkpoint=model) as service:
        answer = httpx.post(f"{service.url}/predict", json={"title": "How do planes stay up?"})
    assert answer.status_code == 200
    assert 0 < answer.json()["viral_score"] < 1


def test_make_test_installs_the_extra_first() -> None:
    """So that a fresh clone runs its short tests instead of skipping them."""
    ran = completed(["make", "-n", "-B", "test"], env=environment(), check=True)
    installs, tests = "install -r requirements/scale.txt", "-m pytest"
    assert 0 < ran.stdout.find(installs) < ran.stdout.find(tests)


@pytest.mark.usefixtures("without_extra")
def test_without_the_extra_its_tests_are_skipped_with_a_reason() -> None:
    """Except in CI, which sets CI=true: there they fail."""
    script = "from tests.scale.ray_here import needs_ray; print(needs_ray.args, needs_ray.kwargs['reason'])"
    said = {}
    for ci in ("", "true"):
        ran = completed([sys.executable, "-c", script], env=environment() | {"CI": ci}, check=True)
        said[ci] = ran.stdout
    assert said[""].startswith("(True,)")
    assert "make scale-setup" in said[""]
    assert said["true"].startswith("(False,)")
