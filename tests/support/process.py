"""Processes that tests start, and waiting for what happens in them.

No test measures time. A wait ends when nothing that the tests started is busy: on a machine with other load,
slower work is waited for.
"""

import fcntl
import itertools
import os
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import psutil

ROOT = Path(__file__).parents[2]
LIMIT_S = 300
MIN_SHARE = 1 / 60  # of a processor: more than idle services take, less than a compile at low priority gets
MAX_WAIT_S = 1800
# Below the kernel's ephemeral ports, which outgoing connections take.
PORT_RANGES = [range(first, first + 500) for first in range(20_000, 32_000, 500)]
# TLS for clients of plain HTTP: reading the system's certificates takes a new client 28 ms, the rest 1 ms.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def free_port() -> int:
    """A port that nothing listens on, and that no other process that runs tests is given."""
    for port in itertools.islice(_ports()[0], len(PORT_RANGES[0])):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@cache
def _ports() -> "tuple[itertools.cycle[int], int]":
    """One of `PORT_RANGES` over and over, and the lock that keeps it for this process while it lives."""
    for ports in PORT_RANGES:
        name = Path(tempfile.gettempdir(), f"miles-test-ports-{os.getuid()}-{ports.start}")
        lock = os.open(name, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return itertools.cycle(ports), lock
    raise AssertionError(f"all {len(PORT_RANGES)} ranges of ports are taken by other runs of the tests")


class Patience:
    """Lasts while the processes that this one started are busy, and at most `max_wait_s`."""

    def __init__(self, limit_s: float = LIMIT_S, max_wait_s: float = MAX_WAIT_S) -> None:
        self._limit_s, self._last = limit_s, time.monotonic() + max_wait_s
        self._judge()

    def _judge(self) -> None:
        self._used, self._until = cpu_seconds(), min(time.monotonic() + self._limit_s, self._last)

    def is_over(self) -> bool:
        """Whether they were idle in the last `limit_s`."""
        if time.monotonic() < self._until:
            return False
        before = self._used
        self._judge()
        return self._used - before < MIN_SHARE * self._limit_s or time.monotonic() >= self._last


def cpu_seconds() -> float:
    """The processor time of everything that this process has started, including ended processes."""
    own = os.times()
    seconds = own.children_user + own.children_system
    for each in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            seconds += times.user + times.system + times.children_user + times.children_system
    return seconds


def until(
    condition: Callable[[], object],
    otherwise: Callable[[], str] = lambda: "never came true",
    process: "subprocess.Popen[Any] | None" = None,
    patience: Patience | None = None,
) -> None:
    """Return once `condition` holds; fails with `otherwise()` when patience or `process` has ended."""
    patience = patience or Patience()
    while not condition():
        # What it did last may have made the condition true.
        ended = process is not None and process.poll() is not None and not condition()
        assert not ended, f"{otherwise()}: the process has ended with {process and process.returncode}"
        assert not patience.is_over(), otherwise()
        time.sleep(0.05)


def answers(url: str, **headers: str) -> bool:
    """Whether a GET succeeds."""
    try:
        return httpx.get(url, headers=headers, trust_env=False, verify=PLAIN).is_success
    except httpx.TransportError:
        return False


def wait_until_ready(process: "subprocess.Popen[Any]", log: Path, ready: Callable[[], bool]) -> None:
    """Return when `ready` holds; fails with the process's output when it ends or hangs before."""
    until(ready, lambda: f"not ready: {log.read_text()}", process)
    assert process.poll() is None, f"ended with {process.returncode}: {log.read_text()}"


def completed(
    command: Sequence[object], *, check: bool = False, patience: Patience | None = None, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """A program after its end, with its output; by default it runs in the repository's root."""
    plain: dict[str, Any] = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "text": True} | options
    words, pipe, patience = list(map(str, command)), subprocess.PIPE, patience or Patience()
    with subprocess.Popen(words, stdout=pipe, stderr=pipe, **plain) as process:
        while True:
            try:
                said, complained = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                if patience.is_over():
                    process.kill()
                    raise
            except BaseException:
                process.kill()
                raise
    done = subprocess.CompletedProcess(words, process.returncode, said, complained)
    if check:
        done.check_returncode()
    return done


@contextmanager
def started(
    command: Sequence[str | Path], log: Path, ready: Callable[[], bool] = lambda: True, **options: Any
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that prints to `log`, once it is `ready`; ended by SIGTERM. `options` are Popen's."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
        )
    try:
        wait_until_ready(process, log, ready)
        yield process
    finally:
        stop(process)


def stop(process: "subprocess.Popen[Any]") -> None:
    """SIGTERM, and SIGKILL for a process that does not end."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
