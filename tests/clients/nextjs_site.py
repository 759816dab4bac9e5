"""The Next.js page, built once for its sources and started like any other process."""

import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.house import ROOT
from tests.support.node import NODE, install, node_environment, npm
from tests.support.service import free_port

FOLDER = ROOT / "clients" / "nextjs"
SOURCES = [FOLDER, ROOT / "clients" / "typescript" / "src"]
MADE = {"node_modules", ".next", "next-env.d.ts", ".npm-ci.lock", "tsconfig.tsbuildinfo"}
DEFAULT_PORT = 3000  # whose origin the service lets in unless it is told otherwise
START_LIMIT_S = 60


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
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=FOLDER,
            env=node_environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_for(url, process, log)
            yield url
        finally:
            process.terminate()
            process.wait(START_LIMIT_S)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not started: {log.read_text()}")
