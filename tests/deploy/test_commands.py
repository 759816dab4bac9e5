"""Runs every command of the README, the guide and docs/ as a reader would, or gives a reason not to.

A new command in any of them must be added to `RUN` or `NOT_RUN` below.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from huggingface_hub.cli.hf import app as hub_commands

from tests.support.process import LIMIT_S, free_port
from tests.support.service import ROOT, environment

DOCUMENTS = (
    "README.md",
    "DEPLOYMENT_GUIDE.md",
    "docs/operations.md",
    "docs/kubernetes.md",
    "docs/ray.md",
)
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLONE = "git clone https://github.com/OWNER/miles.git && cd miles"
SERVE = "make serve"
FIT = "./miles fit-stats TRAINING.csv --checkpoint models/model_full.pt"
DRY_RUN = "./miles upload-space OWNER/SPACE --dry-run"

# The command's first words, and what it must print. Commands run in a fresh clone, while the service runs.
RUN = {
    CLONE: "",  # the fixture `clone` runs it
    SERVE: "",  # the fixture `served` runs it
    "make doctor": "make serve can run here.",
    "curl localhost:7860/predict": '"viral_score"',
    DRY_RUN: "would be uploaded to the Space OWNER/SPACE; nothing was sent",
}

# These tools print their help: the subcommand and its options exist in the version that is pinned.
HELP = ("hf upload", "hf spaces wait", "hf spaces logs", "hf spaces restart", "hf auth login")

NO_ENGINE = (
    "needs a container engine and builds for minutes; make container-test does the same, and is run by hand"
)
OTHER_HOST = (
    "changes the host; tests/deploy/test_compose.py holds the unit that it installs to systemd's own checks"
)
THE_HUB = "sends to the hub; tests/deploy/huggingface/test_publish.py runs it against a local server"
RELOADING = "needs a key and a second checkpoint; the tests of reloading have both"
MINUTES = "takes minutes or more"
NOT_RUN = {
    "make test": "runs this test",
    "make hostile": MINUTES,
    "make scale-setup": "make test has run it",
    "./miles score-dataset": "tests/scale/test_score_dataset.py runs it",
    ".venv/bin/serve run": "takes port 8000; tests/scale/test_ray_serve.py serves the same",
    "make check": "ruff and mypy are run for every commit",
    "make bench": MINUTES,
    "make demo": "runs until it is stopped; tests/clients/test_demo.py runs it with --once",
    "./miles train videos.csv": "takes minutes; tests/training runs it on small encoders",
    "make container-test": NO_ENGINE,
    'make container-test ARGS="--engine podman"': NO_ENGINE,
    'make container-test ARGS="--no-build --image miles"': NO_ENGINE,
    'BUILD_FLAGS="--pull" make container-test': NO_ENGINE,
    "docker build": NO_ENGINE,
    "docker run": NO_ENGINE,
    "docker compose": "needs docker; tests/deploy/test_compose.py holds the file to the specification",
    FIT: "tests/e2e/test_first_file.py runs it on a first file",
    f"{FIT} --english-only --split-seed 42": "tests/training/fit_stats/test_fit_stats.py has both options",
    "kubectl": "needs a cluster; tests/deploy/test_kubernetes.py holds the manifests to its schemas",
    "sudo": OTHER_HOST,
    "journalctl": OTHER_HOST,
    "curl https://OWNER-SPACE.hf.space/health/ready": "needs a Space",
    "export": "sets a variable for the next line",
    "./miles upload-space OWNER/SPACE": THE_HUB,
    "mv new_model.pt models/model_full.pt": "would replace the model that other tests use",
    "curl -X POST localhost:7860/admin/reload": RELOADING,
    "kill -HUP PID": RELOADING,
    "git switch --detach v1.0.0": "needs that tag; the next line is the same upload",
}


@dataclass(frozen=True)
class Command:
    """One command without its comment, and its document."""

    text: str
    document: str

    def starts_with(self, words: str) -> bool:
        """Whether it starts with these whole words: `make test` does not match `make tests`."""
        return self.text == words or self.text.startswith(f"{words} ")


def commands(document: str) -> Iterator[Command]:
    """Every command of a document's bash blocks; quotes and backslashes may carry it over several lines."""
    for block in BLOCK.findall((ROOT / document).read_text(encoding="utf-8")):
        waiting = ""
        for line in block.splitlines():
            waiting += line + "\n"
            if waiting.endswith("\\\n") or not _closed(waiting):
                continue
            text = re.sub(r"\s+#\s.*$", "", waiting.strip())
            if text and not text.startswith("#"):
                yield Command(text, document)
            waiting = ""
        assert not waiting, f"{document}: a quote is never closed in {waiting!r}"


def _closed(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


EVERY = [command for document in DOCUMENTS for command in commands(document)]


def rules_of(command: Command) -> list[str]:
    """The rows that hold for a command: of several that fit, the longest of the tables' keys."""
    tables = [*RUN, *HELP, *NOT_RUN]
    fitting = [words for words in tables if command.starts_with(words)]
    return [words for words in fitting if len(words) == max(map(len, fitting))]


def test_every_command_is_run_or_left_out_for_a_reason() -> None:
    """A command that nobody tries is a promise that nobody keeps; each has exactly one row."""
    unknown = [f"{command.document}: {command.text}" for command in EVERY if len(rules_of(command)) != 1]
    assert unknown == []
    assert len(EVERY) > 30


def test_no_row_is_left_over() -> None:
    """A row without its command goes, too."""
    used = {words for command in EVERY for words in rules_of(command)}
    assert {*RUN, *HELP, *NOT_RUN} - used == set()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_stand_in_bash_blocks(document: str) -> None:
    """No command hides from this test in an indented block."""
    text = (ROOT / document).read_text(encoding="utf-8")
    hidden = re.findall(r"^    ((?:make|python|docker|curl|git|hf|sudo|npm|pip) .*)$", text, re.MULTILINE)
    outside = [line for line in hidden if line not in "".join(BLOCK.findall(text))]
    assert outside == []


def test_a_command_over_several_lines_is_one() -> None:
    """Quotes and backslashes hold lines together, and a comment is no part of a command."""
    (asked,) = [command.text for command in EVERY if command.text.startswith("curl localhost:7860/predict")]
    assert asked.count("\n") == 4
    assert "make test" in [command.text for command in EVERY]


@dataclass(frozen=True)
class Reader:
    """Somebody who follows the documents in a fresh clone, on a port that is free here."""

    folder: Path
    port: int

    def do(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone without .venv on the PATH, with our port for 7860."""
        return subprocess.run(
            ["bash", "-c", command.replace("localhost:7860", f"127.0.0.1:{self.port}")],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )

    def environment(self) -> dict[str, str]:
        """Loopback alone is listened on, and no thumbnail is asked for anywhere."""
        settings = environment(host="127.0.0.1", port=self.port, thumbnail_allowed_hosts="127.0.0.1")
        return settings | {
            "PATH": os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if ".venv" not in p)
        }


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """The README's first line, done: a clone. It borrows what takes minutes, the .venv and the model."""
    assert (ROOT / "models" / "model_full.pt").exists(), "make model makes what this borrows"
    above = tmp_path_factory.mktemp("reader")
    command = CLONE.replace("https://github.com/OWNER/miles.git", f"{shlex.quote(str(ROOT))} miles")
    subprocess.run(["bash", "-c", command], cwd=above, check=True, capture_output=True)
    folder = above / "miles"
    (folder / ".venv").symlink_to(sys.prefix)
    for name in ("model_full.pt", "compiled"):
        (folder / "models" / name).symlink_to(ROOT / "models" / name)
    return Reader(folder, free_port())


@pytest.fixture(scope="module")
def served(reader: Reader) -> Iterator[Reader]:
    """The README's second line, running; it is stopped as Ctrl-C in its terminal would."""
    log = reader.folder.parent / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {SERVE}"],
            cwd=reader.folder,
            env=reader.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not _ready(reader.port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield reader
    finally:
        os.killpg(process.pid, 2)
        process.wait(LIMIT_S)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def found(words: str) -> str:
    """The one command of the documents that begins so."""
    texts = {command.text for command in EVERY if rules_of(command) == [words]}
    assert len(texts) == 1, texts
    return texts.pop()


@pytest.mark.parametrize("words", ["make doctor", DRY_RUN])
def test_a_command_does_what_the_document_says(reader: Reader, words: str) -> None:
    """In a fresh clone it succeeds and prints what it is there for."""
    done = reader.do(found(words))
    assert done.returncode == 0, done.stdout + done.stderr
    assert RUN[words] in done.stdout


@pytest.mark.e2e
def test_the_readme_s_question_gets_the_readme_s_answer(served: Reader) -> None:
    """Two commands after the clone, curl prints what the README shows; times and processors differ."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    question = found("curl localhost:7860/predict")
    shown = json.loads(re.findall(r"^```json\n(.*?)^```$", readme.split(question)[1], re.M | re.S)[0])
    answered = json.loads(served.do(question).stdout)
    assert answered.keys() == shown.keys()
    assert answered["viral_score"] == pytest.approx(shown["viral_score"], abs=0.02)
    assert answered["predicted_velocity"] == pytest.approx(shown["predicted_velocity"], rel=0.05)
    assert answered["modalities"] == shown["modalities"]
    assert answered["warnings"] == shown["warnings"]


@pytest.mark.e2e
def test_serving_leaves_the_clone_as_it_was(served: Reader) -> None:
    """No file is made that git would see, but for the .venv that this test has put there as a link."""
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=served.folder, capture_output=True, text=True, check=True
    )
    assert status.stdout.splitlines() == ["?? .venv"]


@pytest.mark.parametrize("command", [c.text for c in EVERY if rules_of(c)[:1] and rules_of(c)[0] in HELP])
def test_the_hub_s_commands_exist(command: str) -> None:
    """Subcommand and options are those of the pinned huggingface_hub; nothing is asked of the hub."""
    words = shlex.split(command)
    verb = next(known for known in HELP if command.startswith(known))
    told = CliRunner().invoke(hub_commands, [*verb.split()[1:], "--help"])
    assert told.exit_code == 0, told.output
    options = [word for word in words if word.startswith("--")]
    assert [option for option in options if option not in told.output] == []
