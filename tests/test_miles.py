"""./miles, the command that users type: every command answers, from any directory, without .venv on PATH."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.process import completed
from tests.support.service import ROOT

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USAGE = (ROOT / "miles").read_text(encoding="utf-8").partition("\nEND\n")[0].partition("'END'")[2]
COMMANDS = re.findall(r"^  ([a-z-]+) +[a-z]", USAGE, re.MULTILINE)


def miles(*words: str, root: Path = ROOT, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """./miles with a PATH that contains no virtual environment."""
    return completed([str(root / "miles"), *words], cwd=cwd, env={"PATH": PATH})


def test_every_command_explains_itself_from_any_directory(tmp_path: Path) -> None:
    """`./miles COMMAND --help` prints the usage and runs nothing."""
    assert len(COMMANDS) > 10
    failures = {}
    for command in COMMANDS:
        done = miles(command, "--help", cwd=tmp_path)
        if done.returncode != 0 or not done.stdout.startswith(f"usage: ./miles {command} "):
            failures[command] = done.stdout + done.stderr
    assert failures == {}


def test_a_misspelt_option_is_reported_in_two_lines() -> None:
    """The usage and the mistake, not a screenful of options."""
    failures = {}
    for command in COMMANDS:
        done = miles(command, "--ephocs", "3")
        if done.returncode != 2 or done.stderr.count("\n") != 2 or done.stdout:
            failures[command] = done.stdout + done.stderr
    assert failures == {}


def test_command_lines_are_read_without_large_packages() -> None:
    """Help and usage errors appear at once."""
    heavy = "{'torch', 'sklearn', 'matplotlib', 'fastapi', 'httpx2', 'ray'}"
    script = "import sys, deploy.score_dataset.__main__, model.demo, training.commands; "
    done = completed([sys.executable, "-c", f"{script}print({heavy} & sys.modules.keys())"])
    assert done.stdout == "set()\n", done.stdout + done.stderr


def test_help_lists_every_command() -> None:
    """`./miles --help` is the list, and the error for an unknown command points to it."""
    assert all(f"  {command} " in miles("--help").stdout for command in COMMANDS)
    done = miles("tran")
    assert (done.returncode, done.stderr) == (
        2,
        "./miles: unknown command 'tran'; ./miles --help lists the commands\n",
    )


def test_relative_paths_are_the_callers(tmp_path: Path) -> None:
    """A relative path is looked up in the caller's working directory."""
    (tmp_path / "videos.csv").write_text("headline\nx\n")
    done = miles("score", "videos.csv", cwd=tmp_path)
    assert "no column `title`" in done.stderr, done.stderr


def test_without_an_environment_the_next_step_is_named(tmp_path: Path) -> None:
    """Before `make setup` a command says so in one line."""
    shutil.copy(ROOT / "miles", tmp_path)
    done = miles("train", root=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "make setup" in done.stderr


def test_the_callers_folders_are_not_imported(tmp_path: Path) -> None:
    """A folder in the working directory that has the name of one of our packages is ignored."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    done = miles("fit-stats", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
