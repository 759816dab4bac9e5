"""The clients as their users run them: a process with an environment and packages of its own."""

import atexit
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tests.support.process import completed
from tests.support.service import ROOT

CLIENTS = ROOT / "clients"
# Short waits: the tests check that the client waits, not how long a Space takes.
FAST = ("--waits", "0.05", "--patience", "30")
HTTPX = ("httpx", "httpcore", "h11", "anyio", "certifi", "idna", "typing_extensions.py")
TABLES = ("psycopg", "psycopg_binary", "pyarrow")
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV")

# A client's command with its own arguments and settings: run to its end, or while it runs.
Trigger = Callable[..., subprocess.CompletedProcess[str]]
Running = AbstractContextManager[subprocess.Popen[str]]


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """These settings, and the few variables of this process that every program needs."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"PYTHONPATH": str(site(*HTTPX, *TABLES))} | dict(settings)


@cache
def site(*names: str) -> Path:
    """A folder with only these packages, as pip makes one from clients/requirements.txt."""
    folder = Path(mkdtemp(prefix="miles-site-"))
    atexit.register(shutil.rmtree, folder)
    for name in names:
        (folder / name).symlink_to(Path(sysconfig.get_path("purelib")) / name)
    return folder


def command(script: str, *words: str) -> list[str]:
    """`python clients/script words`, with no packages but those of `environment`."""
    return [sys.executable, "-S", str(CLIENTS / script), *words]


def ran(script: str, *words: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """`python clients/script words` in `folder`, to its end."""
    return completed(command(script, *words), cwd=folder, env=environment(settings))


@contextmanager
def running(script: str, *words: str, folder: Path, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """The same while it runs; killed at the end if it is still running."""
    process = subprocess.Popen(
        command(script, *words),
        cwd=folder,
        env=environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def read_until(process: subprocess.Popen[str], word: str) -> str:
    """What the process prints up to the line with `word`; fails if the process ends first."""
    assert process.stdout is not None, "started with a pipe"
    seen = ""
    for line in process.stdout:
        seen += line
        if word in line:
            return seen
    raise AssertionError(f"ended without {word!r}: {seen}")
