"""A real PostgreSQL for tests, and the scraper's table in it."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from deploy.demo.database import Database, find_programs, started_database
from tests.support.service import ROOT
from tests.support.system_programs import require_program

FOLDERS = ("/usr/lib/postgresql/*/bin",)


@contextmanager
def postgres() -> Iterator[Database]:
    """A server for one session of tests; skipped where PostgreSQL cannot be installed."""
    found = find_programs() or Path(require_program("initdb", debian="postgresql", beside=FOLDERS)).parent
    with started_database(found) as database:
        yield database


def separate(database: Database) -> str:
    """The address of a new, empty database on this server."""
    name = f"separate_{secrets.token_hex(4)}"
    Candidates(database.url).run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return database.url.removesuffix("postgres") + name


def create_roles(database: Database) -> None:
    """Supabase's roles, and `reader`, which may log in and to which row-level security applies."""
    for role in ("anon", "authenticated", "service_role BYPASSRLS", "reader LOGIN PASSWORD 'reader'"):
        name = role.partition(" ")[0]
        if not Candidates(database.url).run("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]):
            Candidates(database.url).run(sql.SQL(f"CREATE ROLE {role}"))  # type: ignore[arg-type]


class Candidates:
    """The scraper's table, as its owner sees it; every call opens a connection."""

    def __init__(self, url: str) -> None:
        self.url = url

    def create(self) -> None:
        """The scraper's table, empty; scores that are written are counted per row."""
        with self._connection() as connection:
            connection.execute("DROP TABLE IF EXISTS candidates, writes")
            connection.execute((ROOT / "clients" / "database" / "schema.sql").read_bytes())
            connection.execute("CREATE TABLE writes (id uuid)")
            connection.execute(
                "CREATE OR REPLACE FUNCTION count_write() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN INSERT INTO writes VALUES (NEW.id); RETURN NEW; END $$"
            )
            connection.execute(
                "CREATE TRIGGER counted AFTER UPDATE ON candidates "
                "FOR EACH ROW EXECUTE FUNCTION count_write()"
            )

    def create_owners(self) -> None:
        """An empty table `owner.candidates` with the policies in use; `reader` may update it but for them."""
        with self._connection() as connection:
            connection.execute("DROP SCHEMA IF EXISTS owner CASCADE; CREATE SCHEMA owner")
            connection.execute("SET search_path = owner")
            connection.execute((ROOT / "tests" / "clients" / "owner.sql").read_bytes())
            connection.execute("GRANT USAGE ON SCHEMA owner, auth TO reader, service_role")
            connection.execute("GRANT SELECT, UPDATE ON candidates TO reader, service_role")

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows, by default one second apart in `created_at`."""
        with self._connection() as connection, connection.transaction():
            for index, row in enumerate(rows):
                values = {"created_at": f"2026-01-01T00:{index // 60:02d}:{index % 60:02d}Z"} | row
                names = sql.SQL(", ").join(map(sql.Identifier, values))
                places = sql.SQL(", ").join([sql.Placeholder()] * len(values))
                statement = sql.SQL("INSERT INTO candidates ({}) VALUES ({})").format(names, places)
                connection.execute(statement, list(values.values()))

    def rows(self) -> list[dict[str, Any]]:
        """All rows, oldest first."""
        with self._connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute("SELECT * FROM candidates ORDER BY created_at, id").fetchall()

    def scored(self) -> list[str]:
        """Titles of the rows that have a score."""
        return [row["title"] for row in self.rows() if row["miles_score"] is not None]

    def written_more_than_once(self) -> int:
        """The number of rows that were updated more than once."""
        return len(self.run("SELECT id FROM writes GROUP BY id HAVING count(*) > 1"))

    def run(
        self, statement: LiteralString | sql.Composed, values: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Run any statement and return its rows, if any."""
        with self._connection() as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def _connection(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.url, autocommit=True)
