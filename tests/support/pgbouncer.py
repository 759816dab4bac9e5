"""A real PgBouncer in transaction mode, as poolers of hosted databases work."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from deploy.demo.database import Database
from tests.support.process import free_port, started
from tests.support.system_programs import require_program


@contextmanager
def pooled(database: Database) -> Iterator[str]:
    """The database's address behind a pool of two server connections, which clients hold per transaction."""
    program = require_program("pgbouncer", debian="pgbouncer", beside=("/usr/sbin",))
    address, port = urlsplit(database.url), free_port()
    folder = database.folder / f"pgbouncer-{port}"
    folder.mkdir()
    (folder / "users").write_text(f'"{address.username}" "{address.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        "[databases]\n"
        f"postgres = host=127.0.0.1 port={address.port}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {folder}/users\n"
        "pool_mode = transaction\ndefault_pool_size = 2\n"
    )
    owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    url = address._replace(netloc=f"{address.username}:{address.password}@127.0.0.1:{port}").geturl()
    command = [program, folder / "pgbouncer.ini"]
    with started(command, folder / "log", lambda: _connects(url), user=owner, cwd=folder):
        yield url


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url, prepare_threshold=None).close()
    except psycopg.OperationalError:
        return False
    return True
