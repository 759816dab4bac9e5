"""docker and podman: they build the image and run it as production does, locked down."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

from tests.container.engine import BUILD_SECONDS, COMMAND_SECONDS, Start, attempt, run, succeeds


class Docker:
    """docker or podman, which share a command line."""

    def __init__(self, name: str, image: str) -> None:
        self.name = name
        self.image = image
        self._container = ""

    def works(self) -> bool:
        return succeeds([self.name, "info"])

    def build(self, flags: Sequence[str], file: str) -> None:
        """Build the image; podman's own format has no HEALTHCHECK, docker's does."""
        form = [] if self.name == "docker" else ["--format", "docker"]
        command = [self.name, "build", *form, *flags, "--file", file, "-t", self.image, "."]
        run(command, BUILD_SECONDS, shown=True)

    def size(self) -> int:
        return int(self._inspect("image", self.image)["Size"])

    def healthcheck(self) -> list[str]:
        config = self._inspect("image", self.image)
        check = config.get("Healthcheck") or config["Config"]["Healthcheck"]
        return list(check["Test"][1:])

    def start(self, how: Start) -> int:
        """Run read-only, without capabilities, on a free port."""
        locked = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        memory = [f"--tmpfs={folder}:rw,nosuid,nodev,mode=1777" for folder in how.writable]
        memory.append(f"--shm-size={how.shared_memory_mb}m")
        environment = [f"--env={name}={value}" for name, value in how.environment.items()]
        flags = [*locked, *memory, *environment, "--publish", "127.0.0.1::7860", "--user", "1000:1000"]
        started = run([self.name, "run", "--detach", *flags, self.image, *how.command])
        self._container = started.strip()
        return int(run([self.name, "port", self._container, "7860/tcp"]).splitlines()[0].rpartition(":")[2])

    def alive(self) -> bool:
        return bool(self._inspect("container", self._container)["State"]["Running"])

    def inside(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return attempt([self.name, "exec", self._container, *command])

    def log(self) -> str:
        done = attempt([self.name, "logs", self._container])
        return done.stdout + done.stderr

    def terminate(self, seconds: float) -> int:
        run([self.name, "stop", "--time", str(int(seconds)), self._container], seconds + COMMAND_SECONDS)
        return int(self._inspect("container", self._container)["State"]["ExitCode"])

    def remove(self) -> None:
        if self._container:
            attempt([self.name, "rm", "--force", "--volumes", self._container])

    def _inspect(self, kind: str, what: str) -> dict[str, Any]:
        described: dict[str, Any] = json.loads(run([self.name, kind, "inspect", what]))[0]
        return described
