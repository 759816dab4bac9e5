"""GitHub's workflows: everything that they run is pinned, known here, and has few rights."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.support.house import ROOT
from tests.support.process import completed

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DEPLOY = "deploy-space.yml"
SCORE = "score-candidates.yml"
RELEASE = "release.yml"
# What a workflow runs other than targets of the Makefile, and why.
OTHER_COMMANDS = {
    'git config --global --add safe.directory "$GITHUB_WORKSPACE"': "the container's user is another one",
    "python -m pip install --constraint requirements/constraints.txt huggingface_hub": "for uploading",
    'python -m deploy.huggingface "$HF_SPACE"': "test_publish.py runs it",
    "python -m pip install --requirement clients/requirements.txt": "pinned there",
    'deploy/publish-image "$ARCHITECTURE"': "needs GitHub's registry; test_release.py runs what comes before",
    "deploy/publish-image index": "needs GitHub's registry",
    "deploy/publish-client python": "needs GitHub's identity",
    "deploy/publish-client typescript": "needs GitHub's identity",
    "python clients/trigger_inference.py --limit 200": "tests/clients run it on a real database",
}


READ: dict[str, dict[str, Any]] = {path.name: yaml.safe_load(path.read_text("utf-8")) for path in WORKFLOWS}


def steps_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    """zizmor's findings about the workflows in `folder`, without a network."""
    command = [Path(sys.executable).parent / "zizmor", "--offline", "--no-progress", "--no-config", folder]
    return completed(command)


def fits_the_schema(*workflows: Path) -> subprocess.CompletedProcess[str]:
    """check-jsonschema's verdict by its own schema of workflows."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    return completed([*command, *workflows])


def test_every_action_is_pinned_by_commit() -> None:
    """A tag may be moved, a commit's sha cannot; the comment names the release, the same everywhere."""
    used = {line for path in WORKFLOWS for line in re.findall(r"uses: (.*)$", path.read_text(), re.MULTILINE)}
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[0-9.]+", line)] == []
    assert len({line.partition("@")[0] for line in used}) == len(used)


def test_a_workflow_may_only_read() -> None:
    """GitHub's token may write nothing but an image; uploads may also prove their identity."""
    given = {name: [workflow["permissions"]] for name, workflow in READ.items()}
    for name, workflow in READ.items():
        given[name] += [job["permissions"] for job in workflow["jobs"].values() if "permissions" in job]
    expected = {name: [{"contents": "read"}] for name in ("tests.yml", "supply-chain.yml", SCORE, DEPLOY)}
    expected[DEPLOY].append({"contents": "read", "id-token": "write"})
    writes, proves = {"contents": "read", "packages": "write"}, {"contents": "read", "id-token": "write"}
    expected[RELEASE] = [{"contents": "read"}, writes, writes, proves, proves]
    assert given == expected


def test_workflows_run_what_people_run() -> None:
    """Each of our steps is a target of the Makefile or listed above; its files and modules exist."""
    targets = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    commands = [step["run"] for workflow in READ.values() for step in steps_of(workflow) if "run" in step]
    known = {f"make {target}" for target in targets} | OTHER_COMMANDS.keys()
    assert [command for command in commands if command not in known] == []
    words = [word for command in commands for word in shlex.split(command)]
    paths = [word for word in words if re.search(r"/\w|\.txt$", word) and not word.startswith("$")]
    modules = [word.replace(".", "/") for word in words if re.fullmatch(r"deploy(\.\w+)+", word)]
    assert [path for path in paths + modules if not (ROOT / path).exists()] == []


def test_every_workflow_fits_the_schema() -> None:
    """No key is misspelt or missing, by the schema that editors use."""
    checked = fits_the_schema(*WORKFLOWS)
    assert checked.returncode == 0, checked.stdout


def test_a_misspelt_key_is_found(tmp_path: Path) -> None:
    """The schema rejects what it does not know."""
    broken = tmp_path / "broken.yml"
    text = (ROOT / ".github" / "workflows" / DEPLOY).read_text(encoding="utf-8")
    broken.write_text(text.replace("runs-on", "run-on"))
    assert fits_the_schema(broken).returncode == 1


def test_zizmor_finds_nothing() -> None:
    """No workflow leaks secrets or runs a stranger's text, as far as zizmor can tell."""
    done = zizmor(ROOT / ".github" / "workflows")
    assert done.returncode == 0, done.stdout


def test_zizmor_would_find_something(tmp_path: Path) -> None:
    """A pull request's title in a shell command, and credentials left on the disk, are findings."""
    folder = tmp_path / ".github" / "workflows"
    shutil.copytree(ROOT / ".github" / "workflows", folder)
    text = (folder / "tests.yml").read_text(encoding="utf-8")
    (folder / "tests.yml").write_text(
        text.replace("persist-credentials: false", "fetch-depth: 1").replace(
            "make doctor", "echo ${{ github.event.pull_request.title }}"
        )
    )
    found = zizmor(folder).stdout
    assert "template-injection" in found
    assert "artipacked" in found


def test_the_space_is_deployed_without_a_stored_token() -> None:
    """By default the hub's exchange is used, for this Space; a secret only if asked for."""
    (job,) = READ[DEPLOY]["jobs"].values()
    environment = job["steps"][-1]["env"]
    assert "format('spaces/{0}', vars.HF_SPACE)" in environment["HF_OIDC_RESOURCE"]
    assert environment["HF_TOKEN"].startswith("${{ vars.HF_USE_TOKEN == 'true' && secrets.HF_TOKEN")


def test_the_scores_come_every_six_hours() -> None:
    """On the scraper's schedule, and the client gets every setting that it reads."""
    workflow = READ[SCORE]
    # YAML 1.1 reads the key `on` as true.
    on: dict[str, Any] = workflow[True]  # type: ignore[index]
    assert [entry["cron"].split()[1:] for entry in on["schedule"]] == [["*/6", "*", "*", "*"]]
    client = (ROOT / "clients" / "trigger_inference.py").read_text(encoding="utf-8")
    given = steps_of(workflow)[-1]["env"]
    assert [name for name in given if name not in client] == []
    assert {"DATABASE_URL", "INFERENCE_API_URL", "SUPABASE_URL", "SUPABASE_SERVICE_KEY"} <= given.keys()
