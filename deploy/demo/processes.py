"""The demo's processes, each with a log file and in a session of its own."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

STOP_LIMIT_S = 30
STEP_S = 0.1


class DemoError(Exception):
    """The demo cannot continue; the message gives the reason."""


@dataclass(frozen=True)
class Part:
    """A running process of the demo."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])


@contextmanager
def started(
    name: str, command: Sequence[str | Path], log: Path, folder: Path, settings: Mapping[str, str]
) -> Iterator[Part]:
    """Run a process until the block ends, then stop it and its children."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  a list, no shell
            command,
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C must not reach it: the demo stops its processes in order
        )
    try:
        yield Part(name, process, log)
    finally:
        _end(process, signal.SIGTERM)
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            _end(process, signal.SIGKILL)
            process.wait()


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        os.killpg(process.pid, number)


def wait_until_ready(part: Part, url: str, limit_s: float) -> None:
    """Return once `url` answers with 200. Raises `DemoError` with the last lines of the log."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and part.process.poll() is None:
        try:
            if httpx.get(url, trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(STEP_S)
    raise DemoError(f"{part.name} does not answer at {url}:\n{part.last_lines()}")


def free_port(wanted: int) -> int:
    """`wanted`, or another port if it is in use."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            return found
    raise DemoError("no port of 127.0.0.1 is free")
