"""The Next.js page, built once for its sources and started like any other process."""

import hashlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.support.house import ROOT
from tests.support.node import NODE, install, node_environment, npm
from tests.support.process import answers, free_port, started

FOLDER = ROOT / "clients" / "nextjs"
SOURCES = [FOLDER, ROOT / "clients" / "typescript" / "src"]
MADE = {"node_modules", ".next", "next-env.d.ts", ".npm-ci.lock", "tsconfig.tsbuildinfo"}
DEFAULT_PORT = 3000  # whose origin the service lets in unless it is told otherwise


def build() -> None:
    """`npm run build`, unless what is built is of these very sources."""
    install(FOLDER)
    stamp, now = FOLDER / ".next" / ".sources", _sources()
    if stamp.is_file() and stamp.read_text() == now:
        return
    ran = npm(FOLDER, "run", "build")
    assert ran.returncode == 0, ran.stdout
    stamp.write_text(now)


def _sources() -> str:
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.*")):
            inside = path.relative_to(folder)
            if path.is_file() and inside.parts[0] not in MADE:
                digest.update(f"{inside}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def port_for_pages() -> int:
    """3000, or a free port where somebody listens on it; then the service has to name that origin."""
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
    """`next start` with these variables, once it answers; its address. Nothing of a .env file is read."""
    command = [str(NODE), "node_modules/next/dist/bin/next", "start", "--hostname", "127.0.0.1"]
    url = f"http://localhost:{port}"
    ready = partial(answers, url)
    with started([*command, "--port", str(port)], log, ready, cwd=FOLDER, env=node_environment(**variables)):
        yield url
