"""The command's processes, seen from outside: which score, what they hold, and how they are killed."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.processes import ProcessTree

SCORER = b"ray::MapWorker"
LIMIT_S = 120


def scorers(process: "subprocess.Popen[Any]") -> list[int]:
    """The processes that score."""
    return [pid for pid in ProcessTree(process).pids() if _title(pid).startswith(SCORER)]


def peak_mb(pid: int) -> float:
    """The most memory that a process had so far, in MB (10^6); 0 when it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def kill_scorer(process: "subprocess.Popen[Any]") -> int:
    """Kill one process that scores with SIGKILL, and nothing else; which it was."""
    pid = scorers(process)[0]
    os.kill(pid, signal.SIGKILL)
    return pid


def kill_all(process: "subprocess.Popen[Any]") -> None:
    """End the command as a power cut would: it and every process that it started, by their numbers."""
    for pid in ProcessTree(process).pids():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=LIMIT_S)


class Peaks:
    """The most memory that the driver and a scoring process had, when a share of the parts was finished."""

    def __init__(self, process: "subprocess.Popen[Any]", output: Path, parts: int) -> None:
        self._process, self._output, self._parts = process, output, parts
        self.early: dict[str, float] = {}
        self.late: dict[str, float] = {}
        self.cpu_s = 0.0
        """What the command and all its processes used."""
        self._seen: list[int] = []

    def watch(self, early: float = 0.1) -> None:
        """Return when the command has ended."""
        while self._process.poll() is None:
            done = len(list(self._output.glob("part-*.parquet"))) / self._parts
            if not self.early and done >= early:
                self._seen = scorers(self._process)
                self.early = self._peaks()
            elif self.early and self._are_all_there():
                self.late = self._peaks()
            self.cpu_s = max(self.cpu_s, ProcessTree(self._process).cpu_seconds())
            time.sleep(0.2)

    def _are_all_there(self) -> bool:
        return all(_title(pid).startswith(SCORER) for pid in self._seen)

    def _peaks(self) -> dict[str, float]:
        return {"driver": peak_mb(self._process.pid), "scorer": max(map(peak_mb, self._seen), default=0.0)}


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
