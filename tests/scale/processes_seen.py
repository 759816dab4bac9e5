"""The command's processes seen from outside: which ones score, their memory, and killing them."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.harness.processes import ProcessTree

SCORER = b"ray::MapWorker"


def scorers(process: "subprocess.Popen[Any]") -> list[int]:
    return [each.pid for each in ProcessTree(process).members() if _title(each.pid).startswith(SCORER)]


def memory_mb(pid: int, of: str) -> float:
    """Memory of a process in MB (10^6): VmRSS, or the peak so far, VmHWM; 0 when it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(of):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def kill_scorer(process: "subprocess.Popen[Any]") -> int:
    """Send SIGKILL to one process that scores, and to nothing else; returns its id."""
    pid = scorers(process)[0]
    os.kill(pid, signal.SIGKILL)
    return pid


Memory = dict[str, float]


class Peaks:
    """Memory of the driver and of the processes that score, after a tenth of the parts and later.

    `early` and `late` are peaks in MB by kind of process; `more` is the growth since a tenth of the parts.
    """

    def __init__(self, process: "subprocess.Popen[Any]", output: Path, parts: int) -> None:
        self._process, self._output, self._parts = process, output, parts
        self.early: Memory = {}
        self.late: Memory = {}
        self.more: Memory = {}
        self.cpu_s = 0.0
        """Processor time of the command and all its processes."""
        self._seen: dict[int, float] = {}

    def watch(self) -> None:
        """Return when the command has ended."""
        tree = ProcessTree(self._process)
        while self._process.poll() is None:
            if self._seen:
                self._look()
            elif len(list(self._output.glob("part-*.parquet"))) >= 0.1 * self._parts:
                pids = [self._process.pid, *scorers(self._process)]
                self._seen = {pid: memory_mb(pid, "VmRSS") for pid in pids}
                self._look()
                self.early = dict(self.late)
            self.cpu_s = max(self.cpu_s, tree.cpu_seconds())
            time.sleep(0.2)

    def _look(self) -> None:
        for pid, before in self._seen.items():
            who = "driver" if pid == self._process.pid else "scorer"
            if (peak := memory_mb(pid, "VmHWM")) and (who == "driver" or _title(pid).startswith(SCORER)):
                self.late[who] = max(self.late.get(who, 0), peak)
                self.more[who] = max(self.more.get(who, 0), memory_mb(pid, "VmRSS") - before)


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
