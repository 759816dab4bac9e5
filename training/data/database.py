"""Reading from the scraper's PostgreSQL, as `./miles outcomes` and `./miles train --from` do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from training.data.table import DatasetError

if TYPE_CHECKING:
    import psycopg

Row = dict[str, Any]
CONNECT_S = 10
FOREIGN = re.compile(r"(?<=[?&])(?:pgbouncer|connection_limit|pool_timeout|schema|supa)=[^&]*&?")
TABLES = "run clients/database/loop.sql there, or add ?options=-csearch_path%3DSCHEMA to the address"


class DatabaseError(DatasetError):
    """A database that cannot be read; names it without its password, and the next step."""


@contextmanager
def reading(address: str) -> Iterator["psycopg.Connection[Row]"]:
    """One read-only transaction that sees a single state. Raises `DatabaseError`.

    A driver name and other libraries' options in the address are dropped, as in the scraper's step.
    """
    if "://" in address:
        address = FOREIGN.sub("", re.sub(r"^(\w+)\+\w+:", r"\1:", address.strip())).rstrip("?&")
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
        from psycopg.rows import dict_row
    except ImportError as exc:
        raise DatabaseError("reading a database needs psycopg: run make setup") from exc
    try:
        known = conninfo_to_dict(address)
    except psycopg.ProgrammingError:  # its text may hold the password
        raise DatabaseError("not a PostgreSQL address, expected postgresql://USER@HOST/NAME") from None
    name = f"postgresql://{known.get('host', '')}:{known.get('port', 5432)}/{known.get('dbname', '')}"
    try:
        with psycopg.connect(
            address, connect_timeout=CONNECT_S, client_encoding="UTF8", row_factory=dict_row
        ) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            yield connection
    except psycopg.errors.UndefinedTable as exc:
        raise DatabaseError(f"{name}: {_line(exc)}; {TABLES}") from exc
    except psycopg.Error as exc:
        raise DatabaseError(f"{name}: {_line(exc)}") from exc


def _line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0] or type(exc).__name__
