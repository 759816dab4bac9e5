"""What the trial needs from a container engine, and how its commands are run."""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

HOME = "/nonexistent"
BUILD_SECONDS = 3600
COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Start:
    """How a container is started; read-only, without capabilities and as the image's user in any case."""

    command: Sequence[str] = ()  # none: the image's own
    environment: Mapping[str, str] = field(default_factory=lambda: {"HOME": HOME})
    writable: Sequence[str] = ()  # folders that are in memory instead
    shared_memory_mb: int = 64


class Engine(Protocol):
    """One image, at most one container of it at a time."""

    name: str
    image: str

    def works(self) -> bool:
        """Whether the engine is there and answers; a docker client without its daemon is common."""

    def build(self, flags: Sequence[str], file: str) -> None:
        """Build the image by the Dockerfile `file` from the current directory."""

    def size(self) -> int:
        """The image's bytes, all layers."""

    def healthcheck(self) -> list[str]:
        """The command of the image's HEALTHCHECK, without the leading `CMD`."""

    def start(self, how: Start) -> int:
        """Start the container, locked down; the port of this machine that reaches plain Miles in it."""

    def alive(self) -> bool:
        """Whether the container's main process runs."""

    def inside(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run `command` in the running container, as its user."""

    def log(self) -> str:
        """What the service has written so far."""

    def terminate(self, seconds: float) -> int:
        """Send SIGTERM, wait, SIGKILL after `seconds`; the main process's exit status."""

    def remove(self) -> None:
        """Remove the container in any state, and its anonymous volumes."""


class ContainerError(Exception):
    """A command of an engine failed; the message has the command and its output."""


def attempt(
    command: Sequence[str], seconds: float = COMMAND_SECONDS, shown: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run `command` without checking its exit status; raises `ContainerError` when it takes too long.

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
        output = f"\n{done.stderr.strip()}" if done.stderr else ""
        raise ContainerError(f"{shlex.join(command)}: exit status {done.returncode}{output}")
    return done.stdout or ""


def succeeds(command: Sequence[str]) -> bool:
    """Whether `command` is there and ends with exit status 0."""
    try:
        return attempt(command, seconds=20).returncode == 0
    except (FileNotFoundError, ContainerError):
        return False
