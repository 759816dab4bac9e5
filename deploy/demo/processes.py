"""Processes of the demo: each in a session of its own, with its output in a file, and ended with the demo."""

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
    """The demo cannot go on; the text says what is missing or what went wrong."""


@dataclass(frozen=True)
class Part:
    """A running part of the demo."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_lines(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])


@contextmanager
def started(
    name: str, command: Sequence[str | Path], log: Path, folder: Path, settings: Mapping[str, str]
) -> Iterator[Part]:
    """A part until the block ends; then it and whatever it started are asked to stop."""
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603  a list, no shell
            command,
            cwd=folder,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is the demo's, which ends its parts in order
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
    """Return once `url` answers 200; raises `DemoError` with the part's last lines when it does not."""
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
    """`wanted`, or another one where somebody listens on it."""
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
