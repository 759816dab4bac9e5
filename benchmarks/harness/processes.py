"""A started command with its descendants: CPU seconds, memory, pause and resume."""

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

STOP_LIMIT_S = 15
SETTLE_LIMIT_S = 20
SETTLE_WINDOW_S = 0.25
IDLE_SHARE = 0.2  # of one core: an idle event loop polls a little


class ProcessTree:
    """A started command and its descendants."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._first = psutil.Process(process.pid)

    @property
    def running(self) -> bool:
        """Whether the first process is alive."""
        return self._process.poll() is None

    def members(self) -> list[psutil.Process]:
        """The process and its descendants, parents first."""
        with suppress(psutil.NoSuchProcess):
            return [self._first, *self._first.children(recursive=True)]
        return [self._first]

    def cpu_seconds(self) -> float:
        """User and system time, including children that have ended."""
        seconds = 0.0
        for each in self.members():
            with suppress(psutil.NoSuchProcess):
                times = each.cpu_times()
                seconds += times.user + times.system + times.children_user + times.children_system
        return seconds

    def memory_mb(self) -> float:
        """Resident memory in MB (10^6): each process's private pages, and shared pages once."""
        private, shared = 0, 0
        for each in self.members():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                memory = each.memory_full_info()
                private, shared = private + memory.uss, max(shared, memory.rss - memory.uss)
        return (private + shared) / 1e6

    def pause(self) -> None:
        """Stop all its processes until `resume`."""
        for each in self.members():
            with suppress(psutil.NoSuchProcess):
                each.suspend()

    def resume(self) -> None:
        """Continue after `pause`."""
        for each in self.members():
            with suppress(psutil.NoSuchProcess):
                each.resume()

    def settle(self) -> None:
        """Wait until it is idle: clients that disconnected may have left work behind."""
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(SETTLE_WINDOW_S)
            if self.cpu_seconds() - before <= IDLE_SHARE * SETTLE_WINDOW_S:
                return

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL to what is still running after `STOP_LIMIT_S`."""
        members = self.members()
        self.resume()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT_S)
        for each in members:
            with suppress(psutil.NoSuchProcess):  # also raised for a reused id
                each.kill()
        self._process.wait()


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path
) -> Iterator[ProcessTree]:
    """Run a command in a session of its own; stop it and its descendants at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  a list, no shell
            command,
            cwd=directory,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        tree = ProcessTree(process)
        try:
            yield tree
        finally:
            tree.stop()


def machine_cpu_seconds() -> float:
    """CPU time of all processes since boot, without idle and stolen time."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)
