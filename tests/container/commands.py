"""Runs an engine's commands, each with a deadline, and turns their failures into one error."""

import shlex
import subprocess
from collections.abc import Sequence

COMMAND_SECONDS = 120


class ContainerError(Exception):
    """A step of an engine that failed: names the command and what it said."""


def attempt(
    command: Sequence[str], seconds: float = COMMAND_SECONDS, shown: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `command`, whatever its exit status; raises `ContainerError` when it takes too long.

    Its output is kept, or goes to the terminal when `shown`.
    """
    pipe = None if shown else subprocess.PIPE
    try:
        return subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as exc:
        raise ContainerError(f"{shlex.join(command)}: not done after {seconds:.0f} s") from exc


def run(command: Sequence[str], seconds: float = COMMAND_SECONDS, shown: bool = False) -> str:
    """What `command` prints (on the terminal when `shown`); raises `ContainerError` when it fails."""
    done = attempt(command, seconds, shown)
    if done.returncode:
        said = f"\n{done.stderr.strip()}" if done.stderr else ""
        raise ContainerError(f"{shlex.join(command)}: exit status {done.returncode}{said}")
    return done.stdout or ""


def succeeds(command: Sequence[str]) -> bool:
    """Whether `command` is there and ends with exit status 0."""
    try:
        return attempt(command, seconds=20).returncode == 0
    except (FileNotFoundError, ContainerError):
        return False
