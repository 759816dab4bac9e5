"""A started command with its descendants: CPU seconds and memory from /proc, pause and resume."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_LIMIT_S = 15
SETTLE_LIMIT_S = 20
SETTLE_WINDOW_S = 0.25
IDLE_SHARE = 0.2  # of one core: an idle event loop polls a little


class ProcessTree:
    """A started command and its descendants."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def running(self) -> bool:
        """Whether the first process is alive."""
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """The process and its descendants, parents first."""
        children = _children()
        found = [self._process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """User and system time, including children that have ended."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / TICKS_PER_SECOND

    def memory_mb(self) -> float:
        """Resident memory in MB (10^6): each process's private pages, and shared pages once."""
        rows = [_memory_bytes(pid) for pid in self.pids()]
        return (sum(row["Private"] for row in rows) + max(row["Shared"] for row in rows)) / 1e6

    def pause(self) -> None:
        """Stop all its processes until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `pause`."""
        self._signal(signal.SIGCONT)

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
        born = {pid: _start_ticks(pid) for pid in self.pids()}
        self.resume()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT_S)
        for pid, birth in born.items():
            with suppress(ProcessLookupError):
                if birth is not None and _start_ticks(pid) == birth:  # the same process, not a reused id
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)


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
    fields = (PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _waiting, irq, softirq = (int(ticks) for ticks in fields[:7])
    return (user + nice + system + irq + softirq) / TICKS_PER_SECOND


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may contain spaces; empty if it has ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _start_ticks(pid: int) -> str | None:
    """When a process started, in ticks since boot: pid and birth together identify a process."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            found.setdefault(int(fields[1]), []).append(int(entry.name))
    return found


def _cpu_ticks(pid: int) -> int:
    """utime, stime, cutime and cstime: fields 14 to 17 of proc(5)."""
    return sum(int(ticks) for ticks in _stat(pid)[11:15])


def _memory_bytes(pid: int) -> dict[str, int]:
    """Resident bytes that only this process maps, and bytes that others map as well."""
    found = {"Private": 0, "Shared": 0}
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return found
    for line in lines:
        kind = line.partition("_")[0]
        if line.startswith(("Private_Clean", "Private_Dirty", "Shared_Clean", "Shared_Dirty")):
            found[kind] += int(line.split()[1]) * 1024
    return found
