"""GitHub's workflows: what they run is pinned, and may do little."""

import re
from typing import Any

import pytest
import yaml

from tests.house import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
each = pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: str(path.name))


def read(path: Any) -> dict[str, Any]:
    """The workflow; YAML takes the key `on` for a yes, which is none of our business here."""
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def test_what_we_ship_is_audited() -> None:
    """There is a workflow for the supply chain."""
    assert "supply-chain.yml" in [path.name for path in WORKFLOWS]


@each
def test_every_action_is_pinned_by_commit(workflow: Any) -> None:
    """A tag may be moved; a commit's sha cannot. The comment says which release it was."""
    used = re.findall(r"^\s*-?\s*uses: (.*)$", workflow.read_text(encoding="utf-8"), re.MULTILINE)
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[0-9.]+", line)] == []


@each
def test_a_workflow_may_only_read(workflow: Any) -> None:
    """The token that GitHub lends it cannot write."""
    assert read(workflow)["permissions"] == {"contents": "read"}


@each
def test_a_workflow_runs_what_people_run(workflow: Any) -> None:
    """Each step of ours is a target of the Makefile."""
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    steps = [step for job in read(workflow)["jobs"].values() for step in job["steps"]]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands
    assert [command for command in commands if command.removeprefix("make ") not in targets] == []
