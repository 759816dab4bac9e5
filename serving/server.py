"""Runs the app in a process of its own: settings, port, signals and exit codes.

Exit codes: 0 after SIGTERM or SIGINT, 1 when the model cannot be loaded or the port is taken, 2 for
unusable settings. Each failure is one clear line on standard error.
"""

import signal
import socket
import sys
from collections.abc import Callable

import structlog
import uvicorn
from fastapi import FastAPI

from serving.settings import Settings, SettingsError
from serving.telemetry import configure_logging

GRACE_S = 20  # requests in flight may finish for so long after SIGTERM
log = structlog.get_logger()


def run(create_app: Callable[[Settings, Callable[[str], None]], FastAPI]) -> int:
    """Serve until told to stop; the process's exit code."""
    try:
        settings = Settings.from_environment()
    except SettingsError as exc:
        print(exc, file=sys.stderr)
        return 2
    configure_logging(settings.log_format)
    failures: list[str] = []

    def stop(line: str) -> None:
        failures.append(line)
        server.should_exit = True

    config = uvicorn.Config(
        create_app(settings, stop),
        log_config=None,
        access_log=False,  # RequestContext writes that line, without the query
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    server = uvicorn.Server(config)
    try:
        listener = _listen(settings)
    except OSError as exc:
        print(
            f"cannot listen on {settings.host}:{settings.port}: {exc.strerror}. "
            "Stop what is listening there, or set MILES_PORT.",
            file=sys.stderr,
        )
        return 1
    # uvicorn raises a signal again once it has shut down; by then it has done its work.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    log.info("listening", host=settings.host, port=settings.port)
    server.run(sockets=[listener])
    for line in failures:
        print(line, file=sys.stderr)
    return 1 if failures or not server.started else 0


def _listen(settings: Settings) -> socket.socket:
    """Take the port before anything else is done: a second server fails at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=socket.SOMAXCONN)
