"""Runs the app as a process: settings, port, signals and exit codes.

SIGHUP reloads the checkpoint.
Exit codes: 0 after SIGTERM or SIGINT; 1 if the model cannot be loaded or stops responding, or the port is in
use; 2 for invalid settings; 128 + n if a second signal n interrupted requests in flight. Each failure is one
line on standard error.
"""

import argparse
import asyncio
import errno
import faulthandler
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from serving.lifecycle.reload import Reloader
from serving.observability.logs import LINES, configure_logging
from serving.process.connections import guarded
from serving.settings import Settings, SettingsError

GRACE_S = 22  # time for requests in flight to finish after SIGTERM; longer than their deadline
LAST_RESORT_S = 24  # then the process exits even if something hangs; supervisors kill after 30 s
DESCRIPTORS = 65_536
LISTENING = {
    errno.EADDRINUSE: "Stop the process that uses the port, or set MILES_PORT.",
    errno.EACCES: "Set MILES_PORT to 1024 or more.",
}
log = structlog.get_logger()


def main(create_app: Callable[[Settings, Callable[[str], None]], FastAPI]) -> int:
    """The command line, which takes no arguments but --help; the process's exit code."""
    argparse.ArgumentParser(
        prog="./miles serve",
        usage="%(prog)s   (settings are environment variables, such as MILES_PORT=8000)",
        description="Starts the service on port 7860. Its settings are environment variables, which "
        "docs/settings.md lists. Ctrl-C or SIGTERM stops it.",
    ).parse_args()
    return run(create_app)


def run(create_app: Callable[[Settings, Callable[[str], None]], FastAPI]) -> int:
    """Serve until told to stop; the process's exit code."""
    code = _serve(create_app)
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        _end_now(code)  # the interpreter would wait for these threads, whose results are no longer needed
    return code


def _serve(create_app: Callable[[Settings, Callable[[str], None]], FastAPI]) -> int:
    try:
        settings = Settings.from_environment()
    except SettingsError as exc:
        print(exc, file=sys.stderr)
        return 2
    faulthandler.enable(all_threads=False)  # prints where a native library crashed
    configure_logging(settings.log_format, settings.log_level)
    failures: list[str] = []

    def stop(line: str) -> None:
        failures.append(line)
        server.stop()

    _allow_descriptors()
    config = uvicorn.Config(
        create_app(settings, stop),
        http=guarded(settings.receive_timeout_s),
        ws="none",
        log_config=None,
        access_log=False,  # RequestContext writes that line, without the query
        proxy_headers=False,  # uvicorn would trust this machine; MILES_TRUSTED_PROXIES decides instead
        timeout_graceful_shutdown=GRACE_S,
        server_header=False,
    )
    server = Server(config)
    try:
        listener = _listen(settings)
    except OSError as exc:
        reason = str(exc.strerror).partition(" (")[0]
        step = LISTENING.get(exc.errno or 0, "Set MILES_HOST to an address of this machine, such as 0.0.0.0.")
        print(f"cannot listen on {settings.host}:{settings.port}: {reason}. {step}", file=sys.stderr)
        return 1
    # uvicorn raises the signal again after shutting down, which must not kill the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    if server.hears_hangups:
        signal.signal(signal.SIGHUP, lambda *_: None)  # until startup is complete
    log.info("listening", host=settings.host, port=settings.port, url=settings.url)
    server.run(sockets=[listener])
    for line in failures:
        LINES.write(line)
    return 1 if failures or not server.started else 0


class Server(uvicorn.Server):
    """uvicorn that always stops: a second signal ends it at once, and a timer ends it if something hangs."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.hears_hangups = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN  # as under nohup
        self._reloader: Reloader | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and reload on SIGHUP from then on."""
        await super().startup(sockets)
        self._reloader = self.lifespan.state.get("reloader")
        if self._reloader is not None and self.hears_hangups:
            hang_up = partial(self._hang_up, self._reloader, has_terminal=_has_terminal())
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)

    def _hang_up(self, reloader: Reloader, *, has_terminal: bool) -> None:
        """SIGHUP asks for a reload, unless it came because the controlling terminal was closed."""
        if has_terminal and not _has_terminal():
            self.stop()
        else:
            reloader.on_signal()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Cancel a reload that is in progress, then finish the requests in flight."""
        if self._reloader is not None:
            self._reloader.stop()
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Finish the requests in flight and exit."""
        if not self.should_exit:
            self.should_exit = True
            end = threading.Timer(LAST_RESORT_S, _give_up)
            end.daemon = True
            end.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 uvicorn's signature
        """Stop gracefully on the first signal, at once on the second."""
        if self.should_exit:
            _end_now(128 + sig)
        self._captured_signals.append(sig)
        self.stop()


def _give_up() -> None:
    LINES.write(f"shutdown did not finish within {LAST_RESORT_S} s; exiting now")
    _end_now(1)


def _end_now(code: int) -> None:
    """Write the log, then exit even if threads are running."""
    LINES.drain()
    os._exit(code)


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal that is still open."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _allow_descriptors() -> None:
    """Raise the limit on open files: each connection is one, and many systems default to 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _listen(settings: Settings) -> socket.socket:
    """Bind the port before anything else, so that a second server fails at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=socket.SOMAXCONN)
