"""PostgreSQL as input and output. libpq finds the passwords; they never pass through this program.

Every process of a machine can read a command line, and Ray logs it: an address with a password is refused.
PGPASSWORD or a password file (PGPASSFILE, ~/.pgpass) is read where a connection is made.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import count, islice
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from deploy.score_dataset.job import JobError, Part
from deploy.score_dataset.kept import LOOK, keep
from deploy.score_dataset.sources import Cells, Malformed, Table, null_if_nan

SCHEMES = ("postgresql://", "postgres://")
FETCH_ROWS = 2000  # rows that a server-side cursor sends at a time
CONNECT_S = 10
STRINGS = pa.list_(pa.string())
ARROW = {
    **dict.fromkeys(("int2", "int4", "int8"), pa.int64()),
    **dict.fromkeys(("float4", "float8", "numeric"), pa.float64()),
    **dict.fromkeys(("text[]", "varchar[]"), STRINGS),
    "bool": pa.bool_(),
}
COLUMN = {pa.int64(): "bigint", pa.float64(): "double precision", pa.bool_(): "boolean", STRINGS: "text[]"}
Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Address:
    """The address of a database, without a password."""

    url: str

    @classmethod
    def of(cls, text: str) -> "Address | None":
        """The address, or None if `text` is not one of PostgreSQL.

        Raises `JobError` if libpq cannot parse it or it has a password; the message does not repeat it.
        """
        if not text.startswith(SCHEMES):
            return None
        try:
            known = conninfo_to_dict(text)
        except psycopg.ProgrammingError:
            raise JobError("postgresql://...: libpq cannot parse this address") from None
        if known.get("password"):
            raise JobError(
                "postgresql://...: contains a password, which every process of this machine could read. "
                "Remove it, and set PGPASSWORD or write it to a password file (PGPASSFILE)."
            )
        return cls(text)

    def __str__(self) -> str:
        known = conninfo_to_dict(self.url)
        return f"postgresql://{known.get('host', '')}:{known.get('port', '')}/{known.get('dbname', '')}"

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """One transaction, committed if the block succeeds. Raises `JobError`."""
        try:
            with psycopg.connect(self.url, connect_timeout=CONNECT_S) as connection:
                yield connection
        except psycopg.Error as exc:
            raise JobError(f"{self}: {' '.join(str(exc).split())}") from exc


class PostgresTable(Table):
    """A table or query, ordered by its key; a part records its first and last key."""

    def __init__(self, address: Address, *, table: str | None, query: str | None, key: str | None) -> None:
        if (table is None) == (query is None):
            raise JobError(f"{address}: name what to read with either --table NAME or --query SELECT")
        self._address, self._named, self._query = address, table, query
        self.key = key or self._primary_key()
        empty = sql.SQL("SELECT * FROM {} LIMIT 0").format(self._rows)
        with self._read() as connection:
            columns = connection.execute(empty).description or []
        kinds = {column.name: column.type_display for column in columns}
        self.schema = pa.schema(
            [
                pa.field(name, ARROW.get(kind, pa.string()), metadata={"postgresql": kind})
                for name, kind in kinds.items()
            ]
        )
        if self.key not in kinds:
            raise JobError(f"{address}: no column {self.key!r} among {[*kinds]}; name one with --key")

    def __str__(self) -> str:
        return f"{self._address} {self._named or self._query}"

    @property
    def digest(self) -> str:
        """Digest of all keys: changes when rows are added or deleted."""
        seen = hashlib.sha256()
        for key in self._keys():
            seen.update(key.encode() + b"\n")
        return seen.hexdigest()[:16]

    def parts(self, size: int) -> Iterator[Part]:
        """The parts, of at most `size` rows each."""
        keys = self._keys()
        for number in count():
            if not (chunk := list(islice(keys, size))):
                return
            yield Part(number, number * size, len(chunk), json.dumps([chunk[0], chunk[-1]]), 0, 0)

    def rows(self, part: Part, names: Sequence[str]) -> Iterator[Cells | Malformed]:
        """The columns `names` of a part's rows. Raises `JobError` if their number has changed."""
        statement = sql.SQL("SELECT {} FROM {} WHERE {key} BETWEEN {} AND {} ORDER BY {key}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)),
            self._rows,
            *map(sql.Literal, json.loads(part.path)),
            key=sql.Identifier(self.key),
        )
        found = 0
        for values in self._streamed(statement):
            found += 1
            yield {name: _json_value(value) for name, value in zip(names, values, strict=True)}
        if found != part.rows:
            raise JobError(
                f"{self}: a part has {found} rows, but had {part.rows} at the start; "
                "use --query to select rows that do not change during the run"
            )

    @property
    def _rows(self) -> sql.Composable:
        if self._named is not None:
            return _identifier(self._named)
        query = (self._query or "").strip().rstrip(";")
        return sql.SQL("({}) AS input").format(sql.SQL(query))

    def _primary_key(self) -> str:
        if self._named is None:
            raise JobError(f"{self._address}: name a unique column of the query with --key")
        with self._read() as connection:
            found = connection.execute(
                "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid "
                "AND attnum = ANY(indkey) WHERE indisprimary AND indrelid = %s::regclass",
                [_identifier(self._named).as_string()],
            ).fetchall()
        if len(found) != 1:
            raise JobError(
                f"{self}: its primary key has {len(found)} columns, expected 1; "
                "name a unique column with --key"
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
                raise JobError(f"{self}: {self.key} is null or not unique ({key!r}); name another --key")
            yield key
            before = key

    def _streamed(self, statement: sql.Composed) -> Iterator[tuple[Any, ...]]:
        with self._read() as connection, connection.cursor(name="rows") as cursor:
            cursor.itersize = FETCH_ROWS
            yield from cursor.execute(statement)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._address.connected() as connection:
            connection.read_only = True
            yield connection


@dataclass(frozen=True)
class TableOut:
    """The table that scores are written to, one row per key."""

    address: Address
    table: str
    key: str
    columns: Mapping[str, str]
    """SQL type by column."""

    @classmethod
    def of(cls, address: Address, table: str, key: str, schema: pa.Schema) -> "TableOut":
        """A table with the columns of `schema`."""
        kinds = {field.name: (field.metadata or {}).get(b"postgresql", b"").decode() for field in schema}
        columns = {field.name: kinds[field.name] or COLUMN.get(field.type, "text") for field in schema}
        return cls(address, table, key, columns)

    def prepare(self) -> None:
        """Create the table if it does not exist."""
        columns = [sql.Identifier(name) + sql.SQL(f" {kind}") for name, kind in self.columns.items()]
        statement = sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(
            _identifier(self.table), sql.SQL(", ").join(columns), sql.Identifier(self.key)
        )
        with self.address.connected() as connection:
            connection.execute(statement)

    def check_keys(self, table: Table) -> None:
        """Raise `JobError` if a key of the input is missing or not unique: a score would overwrite another.

        The database checks it, because the keys may not fit into memory.
        """
        with self.address.connected() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE keys (key text) ON COMMIT DROP")
            with cursor.copy("COPY keys FROM STDIN") as copy:
                for part in table.parts(FETCH_ROWS):
                    for row in table.rows(part, [self.key]):
                        if not isinstance(row, Malformed):
                            copy.write_row([None if row[self.key] is None else str(row[self.key])])
            found = cursor.execute(
                "SELECT key, count(*) FROM keys GROUP BY key HAVING count(*) > 1 OR key IS NULL LIMIT 1"
            ).fetchone()
        if found is not None:
            key, rows = found
            value = f"{self.key} is empty" if key is None else f"{self.key} is {key!r}"
            raise JobError(f"{table}: {value} in {rows} rows; name a unique column with --key")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write all rows or none, with their predictions, replacing rows with the same key."""
        names = [sql.Identifier(name) for name in self.columns]
        new = [sql.SQL("{0} = EXCLUDED.{0}").format(name) for name in names]
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
            _identifier(self.table),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
            sql.Identifier(self.key),
            sql.SQL(", ").join(new),
        )
        with self.address.connected() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, [[row[name] for name in self.columns] for row in rows])
            keep(connection, self.key, [row for row in rows if LOOK in row])


def _identifier(name: str) -> sql.Identifier:
    """`table` or `schema.table`."""
    return sql.Identifier(*name.split("."))


def _json_value(value: Any) -> Any:
    if isinstance(value, Decimal):
        return null_if_nan(float(value))
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, dict):
        return json.dumps(value, default=str)
    if isinstance(value, list):
        return [_json_value(one) for one in value]
    return null_if_nan(value) if value is None or isinstance(value, str | int | float) else str(value)
