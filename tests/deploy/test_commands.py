"""Runs every command in the README, the guide and docs/ as a reader would, or says where else it is tested.

A new command in any of them needs a row in `RUN`, `HELP` or `ELSEWHERE` below.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub.cli.hf import app as hub_commands
from PIL import Image

from tests.owner.pipeline import SMALL, save, untrained
from tests.scale.ray_here import needs_ray
from tests.support.process import answers, completed, free_port, started
from tests.support.service import ROOT, environment
from tests.training.fit_stats.first_csv import first_rows, write_rows

DOCUMENTS = (
    "README.md",
    "DEPLOYMENT_GUIDE.md",
    "docs/operations.md",
    "docs/kubernetes.md",
    "docs/ray.md",
    "docs/outcomes.md",
)
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLONE = "git clone https://github.com/OWNER/miles.git && cd miles"
SERVE = "make serve"
ASK = "curl localhost:7860/predict -H"
UPLOAD = "curl localhost:7860/predict -F"
FIT = "./miles fit-stats TRAINING.csv --checkpoint models/model_full.pt"


def nothing(clone: Path) -> None:
    """The clone has everything that the command needs."""


def older_file(clone: Path) -> None:
    """A checkpoint without statistics, and the CSV that it was trained on."""
    write_rows(clone / "TRAINING.csv", first_rows(400))
    (clone / "models" / "model_full.pt").unlink()
    save(untrained(**SMALL), clone / "models" / "model_full.pt")


def videos(clone: Path) -> None:
    """A file of three rows."""
    (clone / "videos.csv").write_text("id,title,view_count\n1,One,9\n2,Two,8\n3,Three,7\n")


# Run in this order in a fresh clone: a function that makes the files that the command needs, and the
# expected output.
RUN: dict[str, tuple[Callable[[Path], None], str]] = {
    "make doctor": (nothing, "make serve can run here."),
    "./miles upload-space OWNER/SPACE --dry-run": (nothing, "to the Space OWNER/SPACE; nothing was sent"),
    "./miles score-dataset": (videos, '"scored_now": 3, "rejected": 0'),
    FIT: (older_file, "model_full.stats.json"),  # these two put another file in the model's place
    f"{FIT} --english-only --split-seed 42": (older_file, "model_full.stats.json"),
}
# The fixtures `clone` and `served` run the first two; the others ask the service.
FIRST = (CLONE, SERVE, ASK, UPLOAD)

# The subcommand and its options exist in the pinned version, as its help says.
HELP = ("hf upload", "hf spaces wait", "hf spaces logs", "hf spaces restart", "hf auth login")

NO_ENGINE = "needs a container engine and builds for minutes; make container-test does the same"
HOST = "changes the host; tests/deploy/test_compose.py has systemd check the unit that it installs"
HUB = "sends to the hub; tests/deploy/huggingface/test_publish.py runs it against a local server"
RELOADING = "needs a key and a second checkpoint; the tests of reloading have both"
MINUTES = "takes minutes or more"
ELSEWHERE = {
    "make test": "runs this test",
    "make hostile": MINUTES,
    "make scale-setup": "make test has run it",
    ".venv/bin/serve run": "takes port 8000; tests/scale/test_ray_serve.py serves the same",
    "make demo": "runs until it is stopped; tests/clients/test_demo.py runs it with --once",
    "./miles train videos.csv": "takes minutes on the encoders' full size; tests/training has small ones",
    "./miles train --from": "needs a database with weeks of looks; tests/training/test_learn.py has one",
    "./miles outcomes": "needs such a database; tests/training/outcomes has one",
    "MILES_SHADOW_CHECKPOINT=models/model_next.pt": "tests/serving/lifecycle/test_shadow.py has a shadow",
    "mv models/model_next.pt models/model_full.pt": "would replace the model that other tests use",
    "make container-test": NO_ENGINE,
    'BUILD_FLAGS="--pull" make container-test': NO_ENGINE,
    "docker build": NO_ENGINE,
    "docker run": NO_ENGINE,
    "docker compose": "needs docker; tests/deploy/test_compose.py checks the file by the specification",
    "psql": "needs a database; tests/clients/test_loop.py runs both migrations on one",
    "kubectl": "needs a cluster; tests/deploy/test_kubernetes.py checks the manifests by its schemas",
    "sudo": HOST,
    "journalctl": HOST,
    "curl https://OWNER-SPACE.hf.space/health/ready": "needs a Space",
    "export": "sets a variable for the next line",
    "./miles upload-space OWNER/SPACE": HUB,
    "mv new_model.pt models/model_full.pt": "would replace the model that other tests use",
    "curl -X POST localhost:7860/admin/reload": RELOADING,
    "kill -HUP PID": RELOADING,
    "git switch --detach v1.0.0": "needs that tag; the next line is the same upload",
}
ROWS = (*RUN, *FIRST, *HELP, *ELSEWHERE)


@dataclass(frozen=True)
class Command:
    """One command without its comment, and its document."""

    text: str
    document: str

    @property
    def row(self) -> str | None:
        """The longest key of the tables whose words it starts with."""
        fitting = [row for row in ROWS if self.text == row or self.text.startswith(f"{row} ")]
        return max(fitting, key=len, default=None)


def commands(document: str) -> Iterator[Command]:
    """Every command of a document's bash blocks; quotes and backslashes may carry it over several lines."""
    for block in BLOCK.findall((ROOT / document).read_text(encoding="utf-8")):
        waiting = ""
        for line in block.splitlines():
            waiting += line + "\n"
            if waiting.endswith("\\\n") or not _is_closed(waiting):
                continue
            text = re.sub(r"\s+#\s.*$", "", waiting.strip())
            if text and not text.startswith("#"):
                yield Command(text, document)
            waiting = ""
        assert not waiting, f"{document}: a quote is never closed in {waiting!r}"


def _is_closed(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


EVERY = [command for document in DOCUMENTS for command in commands(document)]


def test_every_command_has_a_row_and_every_row_a_command() -> None:
    """No documented command is untested without a reason, and no row is left without a command."""
    assert [f"{command.document}: {command.text}" for command in EVERY if command.row is None] == []
    assert set(ROWS) - {command.row for command in EVERY} == set()
    (asked,) = [command.text for command in EVERY if command.row == ASK]
    assert asked.count("\n") == 4, "quotes hold lines together"


def test_commands_stand_in_bash_blocks() -> None:
    """An indented block would hide a command from this test."""
    outside = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        hidden = re.findall(r"^    ((?:make|python|docker|curl|git|hf|sudo|npm|pip) .*)$", text, re.MULTILINE)
        outside += [line for line in hidden if line not in "".join(BLOCK.findall(text))]
    assert outside == []


def cloned(above: Path) -> Path:
    """The README's first line, run. The clone borrows .venv and the model, which take minutes to make."""
    assert (ROOT / "models" / "model_full.pt").exists(), "run make model, which makes it"
    command = CLONE.replace("https://github.com/OWNER/miles.git", f"{shlex.quote(str(ROOT))} miles")
    completed(["bash", "-c", command], cwd=above, check=True)
    clone = above / "miles"
    (clone / ".venv").symlink_to(sys.prefix)
    for path in (clone / "requirements.txt", *(clone / "requirements").iterdir()):
        os.utime(path, (0, 0))  # so that make finds them installed
    for name in ("model_full.pt", "compiled"):
        (clone / "models" / name).symlink_to(ROOT / "models" / name)
    return clone


def outside_the_environment(port: int, **more: object) -> dict[str, str]:
    """A reader's environment, without .venv in PATH; the service listens on loopback and fetches nothing."""
    settings = environment(host="127.0.0.1", port=port, thumbnail_allowed_hosts="127.0.0.1", **more)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if ".venv" not in part)
    return settings | {"PATH": path}


def done(command: str, clone: Path, port: int, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run a command in the clone, with `port` for 7860."""
    return completed(
        ["bash", "-c", command.replace("localhost:7860", f"127.0.0.1:{port}")],
        cwd=clone,
        env=outside_the_environment(port, **settings),
    )


def test_each_command_works_as_documented(tmp_path: Path, tiny_bundle: Path) -> None:
    """In a fresh clone it succeeds and prints the expected text; a small model scores the rows."""
    failures, clone = {}, cloned(tmp_path)
    for row, (prepare, expected) in RUN.items():
        if "score-dataset" in row and needs_ray.args[0]:
            continue
        prepare(clone)
        for command in {command.text for command in EVERY if command.row == row}:
            ran = done(command, clone, free_port(), checkpoint=tiny_bundle)
            if ran.returncode or expected not in ran.stdout:
                failures[command] = ran.stdout + ran.stderr
    assert failures == {}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The README's second line, running in a clone; the clone and the service's port."""
    clone, port = cloned(tmp_path_factory.mktemp("reader")), free_port()
    variables, log = outside_the_environment(port), clone.parent / "serve.log"
    ready = lambda: answers(f"http://127.0.0.1:{port}/health/ready")  # noqa: E731
    with started(["bash", "-c", f"exec {SERVE}"], log, ready, cwd=clone, env=variables):
        yield clone, port


@pytest.mark.e2e
def test_the_readmes_request_gets_the_readmes_answer(served: tuple[Path, int]) -> None:
    """Two commands after the clone, curl prints what the README shows; times and processors differ."""
    (question,) = [command.text for command in EVERY if command.row == ASK]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = json.loads(re.findall(r"^```json\n(.*?)^```$", readme.split(question)[1], re.M | re.S)[0])
    answered = json.loads(done(question, *served).stdout)
    assert answered.keys() == shown.keys()
    assert answered["viral_score"] == pytest.approx(shown["viral_score"], abs=0.02)
    assert answered["predicted_velocity"] == pytest.approx(shown["predicted_velocity"], rel=0.05)
    assert answered["modalities"] == shown["modalities"]
    assert answered["warnings"] == shown["warnings"]


@pytest.mark.e2e
def test_a_picture_is_sent_as_documented(served: tuple[Path, int]) -> None:
    """The command with a form sends picture.jpg from the reader's folder, and gets a score."""
    (upload,) = [command.text for command in EVERY if command.row == UPLOAD]
    picture = served[0] / "picture.jpg"
    Image.new("RGB", (320, 180), "navy").save(picture)
    answered = json.loads(done(upload, *served).stdout)
    picture.unlink()
    assert 0 < answered["viral_score"] < 1
    assert answered["modalities"]["image"]["state"] != "missing"


@pytest.mark.e2e
def test_serving_leaves_the_clone_as_it_was(served: tuple[Path, int]) -> None:
    """It makes no file that git would see; the link .venv is from this test."""
    assert done("git status --porcelain", *served).stdout == "?? .venv\n"


def test_the_hubs_commands_exist() -> None:
    """Subcommands and options are those of the pinned huggingface_hub; nothing is sent to the hub."""
    failures = []
    for command in EVERY:
        if command.row in HELP:
            ran = CliRunner().invoke(hub_commands, [*command.row.split()[1:], "--help"])
            options = [word for word in shlex.split(command.text) if word.startswith("--")]
            if ran.exit_code or any(option not in ran.output for option in options):
                failures.append(f"{command.text}: {ran.output}")
    assert failures == []
