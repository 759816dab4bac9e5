"""Programs that some tests need and pip cannot install: PostgreSQL, Chromium, a cache server.

As root on Debian or a derivative, missing programs are installed. Elsewhere the tests that need them are
skipped with one line that says how to get them; with CI=true that is a failure, since the skips of a green
run go unread.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

INSTALL_LIMIT_S = 900
LOCK = Path(tempfile.gettempdir()) / "miles-tests-apt.lock"


def require_program(program: str, debian: str, beside: Sequence[str] = (), or_else: str = "") -> str:
    """The path of `program`, of Debian's package `debian`; the test is skipped where it cannot be installed.

    `beside` holds glob patterns of folders to search in addition to PATH: Debian keeps PostgreSQL's programs
    in a folder per version. `or_else` is a program on PATH that will do.
    """
    found, how = _find(program, tuple(beside)), f"(on Debian and Ubuntu, as root: apt-get install {debian})"
    if found is None and _can_install():
        problem = _install(debian)
        found = _find(program, tuple(beside))
        how = f"after `apt-get install {debian}`: {problem or 'it brings none'}"
    found = found or shutil.which(or_else)
    if found is None:
        leave_out(f"{program} is not here {how}")
    assert found is not None
    return found


def _find(program: str, beside: tuple[str, ...]) -> str | None:
    root = Path("/")
    folders = [
        str(folder)
        for pattern in beside
        for folder in sorted(root.glob(pattern.removeprefix("/")), reverse=True)
    ]
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join(folders))


def _can_install() -> bool:
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


@cache
def _install(package: str) -> str:
    """The last line of apt-get's output if it failed, else nothing; a package is tried once per run."""
    with LOCK.open("w") as lock:  # two runs at once would both want dpkg's own lock
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", package]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            ran = subprocess.run(
                ["apt-get", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=INSTALL_LIMIT_S,
                check=False,
            )
        last = (ran.stderr or ran.stdout).strip().splitlines()[-1:]
    return "" if ran.returncode == 0 else "".join(last)


def leave_out(line: str) -> None:
    """Skip the test with this line; with CI=true it fails."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(line, pytrace=False)
    pytest.skip(line)
