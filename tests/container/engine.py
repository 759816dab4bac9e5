"""What the trial needs of a container engine."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

HOME = "/nonexistent"
BUILD_SECONDS = 3600


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
        """The command of the image's HEALTHCHECK."""

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
        """Remove the container, whatever state it is in."""
