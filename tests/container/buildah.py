"""buildah: it only builds, so the image's files are bound read-only and util-linux starts its command.

`unshare` gives the command namespaces of its own, where it is PID 1, and `chroot` makes it the image's user.
That enforces user, capabilities, read-only root, environment and PID 1's signals. It shares this machine's
network, limits no memory, and needs root.
"""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tests.container.engine import BUILD_SECONDS, COMMAND_SECONDS, Start, attempt, run, succeeds
from tests.support.process import free_port

# Runs as root in fresh namespaces; what it mounts vanishes with them. chroot gives up root, and with it every
# capability, before the image's program starts.
LOCK_DOWN = """
files=$1 root=$2 user=$3 shared=$4 writable=$5; shift 5
mount --bind "$files" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o nosuid,noexec,mode=755 tmpfs "$root/dev"
for device in null zero random urandom; do
  : >"$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm"; mount -t tmpfs -o nosuid,nodev,noexec,size="${shared}m" tmpfs "$root/dev/shm"
for folder in $writable; do mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root$folder"; done
mount -o remount,ro "$root/dev"
for file in hosts resolv.conf; do
  [ -e "$root/etc/$file" ] || : >"$root/etc/$file"
  mount --bind "/etc/$file" "$root/etc/$file"; mount -o remount,bind,ro "$root/etc/$file"
done
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs --inh-caps=-all chroot --userspec="$user" --groups= "$root" "$@"
"""


class Buildah:
    """buildah builds; util-linux runs."""

    name = "buildah"

    def __init__(self, image: str) -> None:
        self.image = image
        self._container = ""
        self._scratch = tempfile.TemporaryDirectory(prefix="miles-container-")
        self._root = Path(self._scratch.name) / "root"
        self._log = Path(self._scratch.name) / "log"
        self._config: dict[str, Any] = {}
        self._port = 0
        self._how = Start()
        self._unshare: subprocess.Popen[bytes] | None = None
        self._first = 0  # the service's PID as seen from outside; inside it is 1

    def works(self) -> bool:
        """Whether buildah is there, and we are root."""
        return os.geteuid() == 0 and succeeds(["buildah", "images"])

    def build(self, flags: Sequence[str], file: str) -> None:
        """Build in docker's format: OCI's has no HEALTHCHECK."""
        command = ["buildah", "bud", "--layers", "--format", "docker", *flags]
        run([*command, "--file", file, "-t", self.image, "."], BUILD_SECONDS, shown=True)

    def size(self) -> int:
        """The image's bytes, all layers, as `buildah images` rounds them."""
        number, unit = json.loads(run(["buildah", "images", "--json", self.image]))[0]["size"].split()
        return int(float(number) * {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}[unit.upper()])

    def healthcheck(self) -> list[str]:
        return list(self._configuration()["Healthcheck"]["Test"][1:])

    def start(self, how: Start) -> int:
        """Bind the image's files read-only and start its command, or that of `how`, as its user."""
        self._config, self._how = self._configuration(), how
        self._port = free_port()
        self._container = run(["buildah", "from", "--pull-never", self.image]).strip()
        files = run(["buildah", "mount", self._container]).strip()
        self._root.mkdir()
        namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--ipc", "--uts"]
        locked = ["bash", "-euc", LOCK_DOWN, "bash", files, str(self._root), self._config["User"]]
        locked += [str(how.shared_memory_mb), " ".join(how.writable)]
        command = ["unshare", *namespaces, "--", *locked, *self._program(how.command or self._config["Cmd"])]
        with self._log.open("wb") as log:
            self._unshare = self._spawn(command, log)
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        while self._first == 0 and self.alive():
            self._first = int(children.read_text().split()[0]) if children.read_text().split() else 0
            time.sleep(0.05)
        return self._port

    def alive(self) -> bool:
        return self._unshare is not None and self._unshare.poll() is None

    def inside(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """A second process in the same namespaces, as the same user."""
        enter = ["nsenter", "--target", str(self._first), "--mount", "--pid", "--ipc", "--uts"]
        locked = ["setpriv", "--no-new-privs", "chroot", f"--userspec={self._config['User']}", "--groups="]
        return attempt([*enter, *locked, str(self._root), *self._program(command)])

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def terminate(self, seconds: float) -> int:
        """SIGTERM to the container's PID 1; `unshare` passes its exit status on."""
        assert self._unshare is not None, "start comes first"
        os.kill(self._first, signal.SIGTERM)
        try:
            return self._unshare.wait(seconds)
        except subprocess.TimeoutExpired:
            os.kill(self._first, signal.SIGKILL)
            self._unshare.wait(COMMAND_SECONDS)
            return 128 + signal.SIGKILL  # docker's convention; `unshare` does not report the signal

    def remove(self) -> None:
        """End the process if it runs, then remove the working container."""
        if self._unshare is not None and self.alive():
            os.kill(self._first or self._unshare.pid, signal.SIGKILL)
            self._unshare.wait(COMMAND_SECONDS)
        if self._container:
            attempt(["buildah", "rm", self._container])
        self._scratch.cleanup()

    def _configuration(self) -> dict[str, Any]:
        described = json.loads(run(["buildah", "inspect", "--type", "image", self.image]))
        config: dict[str, Any] = described["Docker"]["config"]
        return config

    def _program(self, command: Sequence[str]) -> list[str]:
        """`command` with the image's environment and directory, as its user sees them."""
        ours = [f"{name}={value}" for name, value in self._how.environment.items()]
        environment = [*self._config["Env"], f"MILES_PORT={self._port}", *ours]
        return ["/usr/bin/env", "-i", f"--chdir={self._config['WorkingDir']}", *environment, *command]

    @staticmethod
    def _spawn(command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
