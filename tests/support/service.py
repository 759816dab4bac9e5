"""A real service in a separate process, started as an operator would."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import LIMIT_S, ROOT, answers, completed, free_port, started, wait_until_ready


@dataclass(frozen=True)
class Service:
    """A running service: its address, its process, and the file with its output."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT_S)


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with only these MILES_ settings, without an outer make's variables."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MILES_") and name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS")
    }
    return clean | {f"MILES_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def started_factory(log: Path, **settings: object) -> Iterator[Service]:
    """The app under `uvicorn --factory`, once it is live."""
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
    with started([sys.executable, *command], log, cwd=ROOT, env=environment(**settings)) as process:
        yield Service(f"http://127.0.0.1:{port}", process, log)


@contextmanager
def make_serve(log: Path, **settings: object) -> Iterator[Service]:
    """`make serve` with these settings, ready; its installing and building counts as done."""
    port = free_port()
    command = ["make", "--no-print-directory", "-o", "setup", "-o", "model", "serve"]
    values = environment(**{"host": "127.0.0.1", "port": port, **settings})
    with started(command, log, cwd=ROOT, env=values) as process:
        service = Service(f"http://127.0.0.1:{port}", process, log)
        wait_for(service, "/health/ready")
        yield service


@contextmanager
def ready_service(log: Path, **settings: object) -> Iterator[Service]:
    """The same, once it is ready."""
    with started_service(log, **settings) as service:
        wait_for(service, "/health/ready")
        yield service


def wait_for(service: Service, path: str) -> None:
    """Return when `path` answers 200; fails with the service's output when it never does."""
    wait_until_ready(service.process, service.log, lambda: answers(service.url + path))


def run_to_end(**settings: object) -> subprocess.CompletedProcess[str]:
    """`python app.py` with settings that must end it by itself."""
    settings.setdefault("host", "127.0.0.1")
    settings.setdefault("port", free_port())
    return completed([sys.executable, "app.py"], env=environment(**settings))
