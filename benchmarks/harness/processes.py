"""A server's processes as Linux accounts for them: CPU seconds, memory, and a pause while others run.

Everything is read from /proc. A server is the process that was started and all its descendants.
"""

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
IDLE_SHARE = 0.2  # of one core: a poll in an idle loop is no work


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
        """User and system time, ended children that were waited for included."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) / TICKS_PER_SECOND

    def resident_mb(self) -> float:
        """Memory in MB (10^6): each process's own, and once what its processes share with any other."""
        rows = [_memory_bytes(pid) for pid in self.pids()]
        return (sum(row["Private"] for row in rows) + max(row["Shared"] for row in rows)) / 1e6

    def pause(self) -> None:
        """Take the processor from it; `resume` gives it back."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it run again."""
        self._signal(signal.SIGCONT)

    def settle(self) -> None:
        """Wait until it does nothing: clients that left may have left work behind."""
        deadline = time.monotonic() + SETTLE_LIMIT_S
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(SETTLE_WINDOW_S)
            if self.cpu_seconds() - before <= IDLE_SHARE * SETTLE_WINDOW_S:
                return

    def stop(self) -> None:
        """End it, by its own ids: politely, then not."""
        born = {pid: _birth(pid) for pid in self.pids()}
        self.resume()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT_S)
        for pid, birth in born.items():
            with suppress(ProcessLookupError):
                if birth is not None and _birth(pid) == birth:  # still there, and not another of that number
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
    """The command, running in a session of its own; ended at the end, with all its descendants."""
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
    """What all processes of this machine used since it booted; neither idle nor stolen time."""
    fields = (PROC / "stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _waiting, irq, softirq = (int(ticks) for ticks in fields[:7])
    return (user + nice + system + irq + softirq) / TICKS_PER_SECOND


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold blanks; empty when the process is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _birth(pid: int) -> str | None:
    """When a process started, in ticks since the machine did: with its number, its identity."""
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
    """Resident bytes that only this process maps, and those that others map, too."""
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
