"""A temporary PostgreSQL server, whose folder is deleted afterwards."""

import os
import pwd
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.processes import free_port

LIMIT_S = "60"  # for the start and for each way to stop
USER = "miles"
DEBIAN_FOLDERS = "usr/lib/postgresql/*/bin"


class DatabaseError(Exception):
    """PostgreSQL does not start."""


@dataclass
class Database:
    """A running server: its address for libpq, and its folder."""

    url: str
    folder: Path


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

    def run(program: str, *words: str) -> None:
        done = subprocess.run(  # noqa: S603  a list, no shell
            [str(programs / program), "-D", f"{folder}/data", *words],
            user=owner,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=folder,
            check=False,
        )
        if done.returncode:
            log = folder / "log"
            said = log.read_text(errors="replace") if log.exists() else done.stderr
            raise DatabaseError(f"{program} {words[0]} failed: {said.strip()[-500:]}")

    run(
        "initdb",
        "-U",
        USER,
        "-A",
        "scram-sha-256",
        "--pwfile",
        str(secret),
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
    )
    # The data is temporary, so it need not reach the disk.
    fleeting = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    options = f"-k {shlex.quote(str(folder))} -p {port} -h 127.0.0.1 {fleeting}"
    try:
        run("pg_ctl", "start", "-w", "-t", LIMIT_S, "-l", f"{folder}/log", "-o", options)
        yield Database(f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres", folder)
    finally:
        for mode in ("fast", "immediate"):  # both disconnect clients; the second does not wait for them
            with suppress(DatabaseError):
                run("pg_ctl", "stop", "-t", LIMIT_S, "-m", mode)
                break


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
