"""A temporary PostgreSQL server, whose folder is deleted afterwards."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from deploy.demo.processes import free_port

START_LIMIT_S = 60
STOP_LIMIT_S = 20
USER = "miles"
DEBIAN_FOLDERS = "usr/lib/postgresql/*/bin"


class DatabaseError(Exception):
    """PostgreSQL does not start."""


@dataclass
class Database:
    """A running server: its address for libpq, and its folder."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]


@contextmanager
def started_database(programs: Path) -> Iterator[Database]:
    """A server on a free port of 127.0.0.1, with a random password. Raises `DatabaseError`.

    PostgreSQL refuses to run as root, so root starts it as the user postgres, or else nobody.
    """
    folder = Path(tempfile.mkdtemp(prefix="miles-postgres-"))
    try:
        with _running(programs, folder) as database:
            yield database
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _running(programs: Path, folder: Path) -> Iterator[Database]:
    owner = _owner()
    password, port = secrets.token_hex(16), free_port(0)
    secret = folder / "password"
    secret.write_text(password)
    if owner:
        for path in (folder, secret):
            shutil.chown(path, owner)
    _initialise(programs, folder, secret, owner)
    options = ["-D", f"{folder}/data", "-k", str(folder), "-p", str(port), "-h", "127.0.0.1"]
    # The data is temporary, so it need not reach the disk.
    fleeting = ["-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  a list, no shell
            [str(programs / "postgres"), *options, *fleeting],
            user=owner,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,  # Ctrl-C must not reach it: the demo stops it in order
        )
    url = f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"
    try:
        _wait(url, folder, process)
        yield Database(url, folder, process)
    finally:
        _stop(process)


def find_programs() -> Path | None:
    """The folder of PostgreSQL's programs: the one on PATH, or Debian's newest; None without one."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).resolve().parent  # PATH may contain only a link to it
    found = [path.parent for path in Path("/").glob(f"{DEBIAN_FOLDERS}/initdb")]
    return max(found, key=lambda folder: int(folder.parent.name), default=None)


def _owner() -> str | None:
    """The user to run as; None for the current one."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _initialise(programs: Path, folder: Path, secret: Path, owner: str | None) -> None:
    command = [str(programs / "initdb"), "-D", f"{folder}/data", "-U", USER, "-A", "scram-sha-256"]
    done = subprocess.run(  # noqa: S603  a list, no shell
        [*command, "--pwfile", str(secret), "--no-sync", "-E", "UTF8", "--locale=C"],
        user=owner,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    if done.returncode:
        raise DatabaseError(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1:]}")


def _wait(url: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise DatabaseError(f"PostgreSQL cannot start: {(folder / 'log').read_text()[-500:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown, which disconnects clients
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGQUIT)  # immediate shutdown, including its child processes
        process.wait()
