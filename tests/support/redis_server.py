"""A real cache server from this machine's distribution: Valkey if there is one, else Redis.

It can be hung, killed and started again on its port; `slowed` delays its answers.
"""

import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import free_port, until
from tests.support.system_programs import require_program


def cache_server_program() -> str:
    """The path of a server; the test is skipped where none can be installed. Debian has Valkey from 13 on."""
    valkey, redis = "valkey-server", "redis-server"
    if shutil.which(valkey) is None and (shutil.which(redis) is not None or not _debian_has(valkey)):
        return require_program(redis, debian=redis)
    return require_program(valkey, debian=valkey)


def _debian_has(package: str) -> bool:
    if shutil.which("apt-cache") is None:
        return False
    asked = subprocess.run(["apt-cache", "show", package], capture_output=True, check=False)
    return asked.returncode == 0


@dataclass
class Server:
    """A server that can be stopped and started again on its port."""

    program: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return address(self.port)

    def start(self) -> None:
        """Start it empty and return when it takes connections."""
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        self.process = subprocess.Popen([self.program, *where, "--save", ""], stdout=subprocess.DEVNULL)
        until(self._listens)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self.process is not None, "started before"
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def come_back(self, after: int) -> None:
        """Undo SIGSTOP, or start it again after SIGKILL."""
        if after == signal.SIGSTOP:
            self.signal(signal.SIGCONT)
        else:
            self.kill()
            self.start()


@contextmanager
def cache_server(folder: Path) -> Iterator[Server]:
    """An empty server that runs."""
    server = Server(cache_server_program(), free_port(), folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@dataclass
class Distance:
    """A proxy: every answer takes `seconds` longer."""

    url: str
    seconds: float = 0.0


@contextmanager
def slowed(server: Server) -> Iterator[Distance]:
    """A proxy in front of the server that delays its answers."""

    class Way(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", server.port)) as there:
                forth = threading.Thread(target=_pass_on, args=(self.request, there, lambda: 0.0))
                forth.start()
                _pass_on(there, self.request, lambda: between.seconds)
                forth.join()

    class Ways(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Ways(("127.0.0.1", 0), Way) as ways:
        between = Distance(address(ways.server_address[1]))
        threading.Thread(target=ways.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield between
        finally:
            ways.shutdown()


def _pass_on(source: socket.socket, target: socket.socket, delay_s: Callable[[], float]) -> None:
    """Copy bytes until either side ends, then end the other."""
    try:
        while received := source.recv(65536):
            time.sleep(delay_s())
            target.sendall(received)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue  # it has ended already


def address(port: int) -> str:
    """A client's URL of a server on this machine."""
    return f"redis://127.0.0.1:{port}/0"
