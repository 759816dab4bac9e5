"""Scores into a table of PostgreSQL: a row for each, a part in a transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from psycopg import sql

from deploy.score_dataset.job import JobError
from deploy.score_dataset.postgres import AT_ONCE, Address
from deploy.score_dataset.sources import Malformed, Table

COLUMN = {
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.list_(pa.string()): "text[]",
}


@dataclass(frozen=True)
class TableOut:
    """Where scores go besides the folder: a row for each, found again by its key."""

    address: Address
    table: str
    key: str
    columns: Mapping[str, str]
    """Type by name."""

    @classmethod
    def of(cls, address: Address, table: str, key: str, schema: pa.Schema) -> "TableOut":
        """For results with the columns of `schema`."""
        kinds = {field.name: (field.metadata or {}).get(b"postgresql", b"").decode() for field in schema}
        columns = {field.name: kinds[field.name] or COLUMN.get(field.type, "text") for field in schema}
        return cls(address, table, key, columns)

    def prepare(self) -> None:
        """Make the table unless it is there; a column that it lacks fails the first part by its name."""
        pairs = [
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind))
            for name, kind in self.columns.items()
        ]
        with self.address.connected() as connection:
            connection.execute(
                sql.SQL("CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY ({}))").format(
                    self._name, sql.SQL(", ").join(pairs), sql.Identifier(self.key)
                )
            )

    def check_keys(self, table: Table) -> None:
        """Raises `JobError` unless every row of some files has a key of its own: of two, one would be lost.

        The database looks, on its disk: so many keys need not fit into memory.
        """
        with self.address.connected() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE keys (key text) ON COMMIT DROP")
            with cursor.copy("COPY keys FROM STDIN") as copy:
                for part in table.parts(AT_ONCE):
                    for row in table.rows(part, [self.key]):
                        if not isinstance(row, Malformed):
                            copy.write_row([None if row[self.key] is None else str(row[self.key])])
            twice = cursor.execute(
                "SELECT key, count(*) FROM keys GROUP BY key HAVING count(*) > 1 OR key IS NULL LIMIT 1"
            ).fetchone()
        if twice is not None:
            key, count = twice
            what = f"{self.key} is empty" if key is None else f"{self.key} is {key!r}"
            raise JobError(f"{table}: {what} in {count} rows; name a --key that tells all rows apart")

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All of them or none; those that are there already are replaced."""
        names = [sql.Identifier(name) for name in self.columns]
        new = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(name)) for name in self.columns]
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}").format(
            self._name,
            sql.SQL(", ").join(names),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
            sql.Identifier(self.key),
            sql.SQL(", ").join(new),
        )
        with self.address.connected() as connection, connection.cursor() as cursor:
            cursor.executemany(statement, [[row[name] for name in self.columns] for row in rows])

    @property
    def _name(self) -> sql.Identifier:
        return sql.Identifier(*self.table.split("."))
