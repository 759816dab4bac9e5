"""The Next.js page, built as `make demo` builds it and started like any other process."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from deploy.demo import site
from tests.support.node import NODE, install, node_environment
from tests.support.process import answers, free_port, started

DEFAULT_PORT = 3000  # whose origin the service allows by default


def build(log: Path) -> None:
    """Install the locked packages and build, unless these very sources are already built."""
    install(site.FOLDER)
    site.build(NODE, log)


def port_for_pages() -> int:
    """3000, or a free port if that is taken; the service must then allow that port's origin."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server itself listens
        try:
            probe.bind(("127.0.0.1", DEFAULT_PORT))
        except OSError:
            port = free_port()
            print(f"port {DEFAULT_PORT} is taken, so the page is on {port}, and MILES_CORS_ORIGINS names it")
            return port
    return DEFAULT_PORT


@contextmanager
def started_site(log: Path, port: int, **variables: str) -> Iterator[str]:
    """`next start` with these variables, once it answers; its address. No .env file is read."""
    command = [str(NODE), site.NEXT, "start", "--hostname", "127.0.0.1"]
    url = f"http://localhost:{port}"
    ready = partial(answers, url)
    with started(
        [*command, "--port", str(port)], log, ready, cwd=site.FOLDER, env=node_environment(**variables)
    ):
        yield url
