"""Processes that tests start, and waiting for what happens in them.

No test measures time: `LIMIT_S` only guards against hanging, also on a machine that is busy otherwise.
"""

import itertools
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
LIMIT_S = 300
# Below the kernel's ephemeral ports, which outgoing connections take; a range for each pytest-xdist worker.
FIRST_PORT, PORTS_PER_WORKER = 20_000, 1_000
# TLS for clients of plain HTTP: reading the system's certificates takes a new client 28 ms, the rest 1 ms.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_tried = itertools.count(os.getpid())


def free_port() -> int:
    """A port that nothing listens on, and that no test in another pytest-xdist worker is given."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 12
    for _ in range(PORTS_PER_WORKER):
        port = FIRST_PORT + worker * PORTS_PER_WORKER + next(_tried) % PORTS_PER_WORKER
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def until(condition: Callable[[], object], otherwise: Callable[[], str] = lambda: "never came true") -> None:
    """Return once `condition` holds; fails with `otherwise()` after `LIMIT_S`."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.05)


def answers(url: str, **headers: str) -> bool:
    """Whether a GET succeeds."""
    try:
        return httpx.get(url, headers=headers, trust_env=False, verify=PLAIN).is_success
    except httpx.TransportError:
        return False


def wait_until_ready(process: "subprocess.Popen[Any]", log: Path, ready: Callable[[], bool]) -> None:
    """Return when `ready` holds; fails with what the process printed when it ends or hangs before."""
    until(lambda: process.poll() is not None or ready(), lambda: f"not ready: {log.read_text()}")
    assert process.poll() is None, f"ended with {process.returncode}: {log.read_text()}"


def completed(command: Sequence[object], **options: Any) -> "subprocess.CompletedProcess[str]":
    """A program after its end, with what it printed; by default it runs in the repository's root."""
    plain: dict[str, Any] = {"cwd": ROOT, "check": False, "timeout": LIMIT_S, "stdin": subprocess.DEVNULL}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, **(plain | options))


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
