"""A real service in a process of its own, as an operator would start it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 120
STOP_LIMIT_S = 40


@dataclass(frozen=True)
class Service:
    """A running service: its address, its process, and the file that holds what it printed."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_LIMIT_S)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with these MILES_ settings and no others, and without an outer make's."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MILES_") and name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS")
    }
    return clean | {f"MILES_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def started_factory(log: Path, **settings: object) -> Iterator[Service]:
    """The app under `uvicorn --factory`, once it answers at all."""
    port = free_port()
    command = ["-m", "uvicorn", "--factory", "app:create_app", "--port", str(port)]
    with started_service(log, command, **(settings | {"port": port})) as service:
        wait_for(service, "/health/live")
        yield service


@contextmanager
def started_service(log: Path, command: Sequence[str] = ("app.py",), **settings: object) -> Iterator[Service]:
    """`python app.py` with these settings, ready or not; stopped at the end."""
    port = settings.setdefault("port", free_port())
    settings.setdefault("host", "127.0.0.1")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Service(f"http://127.0.0.1:{port}", process, log)
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def ready_service(log: Path, **settings: object) -> Iterator[Service]:
    """The same, once it is ready."""
    with started_service(log, **settings) as service:
        wait_for(service, "/health/ready")
        yield service


def wait_for(service: Service, path: str) -> None:
    """Return when `path` answers 200; fail with what the service printed when it never does."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and service.process.poll() is None:
        try:
            if httpx.get(service.url + path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready: {service.log.read_text()}")


def run_to_end(**settings: object) -> subprocess.CompletedProcess[str]:
    """`python app.py` with settings that must end it by itself."""
    settings.setdefault("host", "127.0.0.1")
    settings.setdefault("port", free_port())
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=ROOT,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_LIMIT_S,
        check=False,
    )
