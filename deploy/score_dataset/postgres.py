"""Rows from PostgreSQL; passwords are libpq's to find, and never in our hands.

Whatever is on a command line is seen by every process of the machine, and Ray writes it down: an address
with a password is refused. PGPASSWORD or a password file (PGPASSFILE, ~/.pgpass) is read where a connection
is made.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from deploy.score_dataset.job import JobError, Part
from deploy.score_dataset.sources import Cells, Malformed, Table, plain

SCHEMES = ("postgresql://", "postgres://")
AT_ONCE = 2000  # rows that a server-side cursor hands over in one go
CONNECT_S = 10
ARROW = {
    **dict.fromkeys(("int2", "int4", "int8"), pa.int64()),
    **dict.fromkeys(("float4", "float8", "numeric"), pa.float64()),
    **dict.fromkeys(("text[]", "varchar[]"), pa.list_(pa.string())),
    "bool": pa.bool_(),
}
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Address:
    """A database, by an address without a password."""

    url: str

    @classmethod
    def of(cls, text: str) -> "Address | None":
        """None for what is no address of PostgreSQL. Raises `JobError`, which does not repeat it."""
        if not text.startswith(SCHEMES):
            return None
        try:
            known = conninfo_to_dict(text)
        except psycopg.ProgrammingError:
            raise JobError(
                "postgresql://...: is no address that libpq reads; no more is said of it"
            ) from None
        if known.get("password"):
            raise JobError(
                "postgresql://...: has a password, which every process of this machine could read. "
                "Leave it out, and set PGPASSWORD or write it into a password file (PGPASSFILE)."
            )
        return cls(text)

    def __str__(self) -> str:
        known = conninfo_to_dict(self.url)
        return f"postgresql://{known.get('host', '')}:{known.get('port', '')}/{known.get('dbname', '')}"

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """One transaction, committed when the context ends well. Raises `JobError`."""
        try:
            with psycopg.connect(self.url, connect_timeout=CONNECT_S) as connection:
                yield connection
        except psycopg.Error as exc:
            raise JobError(f"{self}: {' '.join(str(exc).split())}") from exc


class PostgresTable(Table):
    """A table or a query, in the order of its key; a part is found again by its first and last key."""

    def __init__(self, address: Address, *, table: str | None, query: str | None, key: str | None) -> None:
        if (table is None) == (query is None):
            raise JobError(f"{address}: name what is read, by --table NAME or by --query SELECT")
        self._address, self._named, self._query = address, table, query
        self.key = key or self._primary_key()
        with self._read() as connection:
            found = (
                connection.execute(sql.SQL("SELECT * FROM {} LIMIT 0").format(self._rows)).description or []
            )
        self.schema = pa.schema(
            [
                pa.field(
                    column.name,
                    ARROW.get(column.type_display, pa.string()),
                    metadata={"postgresql": column.type_display},
                )
                for column in found
            ]
        )
        if self.key not in self.schema.names:
            raise JobError(
                f"{address}: has no column {self.key!r} among {self.schema.names}; name one by --key"
            )

    def __str__(self) -> str:
        return f"{self._address} {self._named or self._query}"

    @property
    def digest(self) -> str:
        """Of all keys: rows that came or went make it another input."""
        seen = hashlib.sha256()
        for key in self._keys():
            seen.update(key.encode() + b"\n")
        return seen.hexdigest()[:16]

    def parts(self, size: int) -> Iterator[Part]:
        """Every part of `size` rows; only its bounds are held."""
        first = last = ""
        count = number = 0
        for last in self._keys():
            first = first if count else last
            count += 1
            if count == size:
                yield Part(number, number * size, count, json.dumps([first, last]), 0, 0)
                number, count = number + 1, 0
        if count:
            yield Part(number, number * size, count, json.dumps([first, last]), 0, 0)

    def rows(self, part: Part, names: Sequence[str]) -> Iterator[Cells | Malformed]:
        """Raises `JobError` when rows of the part came or went meanwhile."""
        statement = sql.SQL("SELECT {} FROM {} WHERE {key} BETWEEN {} AND {} ORDER BY {key}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)),
            self._rows,
            *map(sql.Literal, json.loads(part.path)),
            key=sql.Identifier(self.key),
        )
        count = 0
        for values in self._streamed(statement):
            count += 1
            yield {name: _plain(value) for name, value in zip(names, values, strict=True)}
        if count != part.rows:
            raise JobError(
                f"{self}: has {count} rows where there were {part.rows}; "
                "name rows that do not come or go while they are scored, by --query"
            )

    @property
    def _rows(self) -> sql.Composable:
        if self._named is not None:
            return sql.Identifier(*self._named.split("."))
        query = (self._query or "").strip().rstrip(";")
        return sql.SQL("({}) AS input").format(sql.SQL(query))

    def _primary_key(self) -> str:
        if self._named is None:
            raise JobError(
                f"{self._address}: name the column that tells the rows of the query apart, by --key"
            )
        with self._read() as connection:
            found = connection.execute(
                "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid "
                "AND attnum = ANY(indkey) WHERE indisprimary AND indrelid = %s::regclass",
                [sql.Identifier(*self._named.split(".")).as_string()],
            ).fetchall()
        if len(found) != 1:
            raise JobError(
                f"{self}: its primary key has {len(found)} columns; name one that is unique by --key"
            )
        key: str = found[0][0]
        return key

    def _keys(self) -> Iterator[str]:
        statement = sql.SQL("SELECT {key}::text FROM {} ORDER BY {key}").format(
            self._rows, key=sql.Identifier(self.key)
        )
        before = None
        for (key,) in self._streamed(statement):
            if key is None or key == before:
                raise JobError(f"{self}: {self.key} is {key!r} more than once or null; name another --key")
            yield key
            before = key

    def _streamed(self, statement: sql.Composed) -> Iterator[tuple[Any, ...]]:
        with self._read() as connection, connection.cursor(name="rows") as cursor:
            cursor.itersize = AT_ONCE
            yield from cursor.execute(statement)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._address.connected() as connection:
            connection.read_only = True
            yield connection


def _plain(value: Any) -> Any:
    """A value as JSON would have it."""
    if isinstance(value, Decimal):
        return plain(float(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return plain(value) if value is None or isinstance(value, str | int | float) else str(value)
