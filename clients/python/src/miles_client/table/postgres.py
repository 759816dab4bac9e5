"""Rows in PostgreSQL, through psycopg."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from miles_client.service import HOLD_S, Outcome, Refusal, Row, Score
from miles_client.settings import SettingError, shown
from miles_client.table.kept import PREDICTION, SNAPSHOT, predictions_of, snapshot_of, with_previous_looks
from miles_client.table.store import (
    COLUMNS,
    EXPECTED,
    NEXT_STEPS,
    Claim,
    DatabaseError,
    DatabaseLost,
    Names,
    is_of_row,
)

# Options of other drivers in an address.
FOREIGN = re.compile(r"(?<=[?&])(?:pgbouncer|connection_limit|pool_timeout|schema|supa)=[^&]*&?")


class Postgres:
    """Rows through psycopg, locked while they are scored.

    Nothing outlives a transaction (no prepared statements, session settings or session locks), so a pooler in
    transaction mode works. Rows arrive as JSON built by PostgreSQL: a date or number that Python cannot hold
    is then rejected by the service for that row only, and does not fail the whole query.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        *,
        read_only: bool,
        names: Names,
        rescore_after_h: float | None = None,
    ) -> None:
        self._url = without_foreign_options(url)
        self._idle_ms = int((timeout_s + 2 * HOLD_S) * 1000)
        self._read_only, self._names, self._rescore_after_h = read_only, names, rescore_after_h
        self._open: Any = None
        self._id_type = ""
        self._keeps: bool | None = None
        try:
            import psycopg
            from psycopg import sql
        except ImportError as exc:
            raise SettingError('DATABASE_URL needs psycopg 3: pip install "psycopg[binary]"') from exc
        self._psycopg, self._sql = psycopg, sql

    def keeps(self) -> bool:
        """Whether the tables of clients/database/loop.sql exist."""
        if self._keeps is None:
            with self._connection() as connection:
                names = [self._quoted(connection, name) for name in ("snapshots", "predictions")]
                found = connection.execute(  # a table of that name may be another program's
                    "SELECT count(*) FROM unnest(%s::text[]) name JOIN pg_attribute "
                    "ON attrelid = to_regclass(name) AND attname = 'candidate_id' AND NOT attisdropped",
                    [names],
                ).fetchone()
            self._keeps = found == (2,)
        return self._keeps

    def pending(self) -> int:
        """The number of rows to score."""
        with self._connection() as connection:
            found = connection.execute(self._statement("SELECT count(*) FROM {table} c WHERE {due}"), [])
            return int(found.fetchone()[0])

    @contextmanager
    def claim(self, count: int, skip: set[str]) -> Iterator[Claim]:
        """Rows that no other run holds; committed when the block ends, released when it fails."""
        with self._connection() as connection, connection.transaction():
            # A constraint that is checked at the commit would fail the whole batch.
            only = "TRANSACTION READ ONLY" if self._read_only else "CONSTRAINTS ALL IMMEDIATE"
            connection.execute(f"SET {only}")
            # A machine that loses power holds its rows no longer than this.
            connection.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [str(self._idle_ms)]
            )
            lock = "" if self._read_only else "FOR UPDATE SKIP LOCKED"
            rows, lacking = self._due(connection, count, skip, lock)
            if rows and self._keeps:
                rows = with_previous_looks(rows, lambda *asked: self._looks(connection, *asked))
            each = {row["id"]: row for row in rows}
            yield Claim(rows, lacking, lambda scores: self._write(connection, each, scores))

    def kept(self, count: int, skip: set[str]) -> list[Row]:
        """Rows that row-level security lets this role read but not lock."""
        kept = []
        with self._connection() as connection, connection.transaction():
            for row in self._due(connection, count, skip, "")[0]:
                try:
                    with connection.transaction():
                        statement = "SELECT 1 FROM {table} c WHERE {id} = %s::{id_type} FOR UPDATE NOWAIT"
                        locked = connection.execute(self._statement(statement), [row["id"]]).fetchone()
                except self._psycopg.errors.LockNotAvailable:
                    continue  # another run has it
                if locked is None:
                    kept.append(row)
        return kept

    def unscored(self, rows: Sequence[Row]) -> set[str]:
        """The ids of rows whose `analyzed_at` is unchanged."""
        statement = (
            "SELECT {id}::text, to_jsonb({analyzed_at}) FROM {table} c WHERE {id} = ANY(%s::{id_type}[])"
        )
        with self._connection() as connection:
            found = connection.execute(self._statement(statement), [[row["id"] for row in rows]])
            now = dict(found.fetchall())
        return {row["id"] for row in rows if row["id"] in now and now[row["id"]] == row["analyzed_at"]}

    def _due(self, connection: Any, count: int, skip: set[str], lock: str) -> tuple[list[Row], list[str]]:
        """Rows, and the fields for which the table has no column."""
        if not self._id_type:
            self._id_type = self._type_of_id(connection)
        statement = (
            "SELECT to_jsonb(c) || jsonb_build_object({id_name}, {id}::text) FROM {table} c "
            "WHERE {due} AND ({id} <> ALL(%s::{id_type}[]) OR {id} IS NULL) "
            "ORDER BY {created_at} NULLS LAST, {id} LIMIT %s "
        )
        found = connection.execute(self._statement(statement + lock), [sorted(skip), count])
        due = [row for (row,) in found]
        rows = self._names.rows(due)
        twice = "SELECT 1 FROM {table} c WHERE {id} = ANY(%s::{id_type}[]) GROUP BY {id} HAVING count(*) > 1"
        if rows and connection.execute(self._statement(twice), [[row["id"] for row in rows]]).fetchone():
            raise self._names.ambiguous("is the same in two rows")
        return rows, self._names.lacking(due[0]) if due else []

    def _looks(self, connection: Any, ids: list[str], since: str, until: str) -> list[Row]:
        found = connection.execute(
            self._sql.SQL(
                "SELECT to_jsonb(s) FROM {} s WHERE candidate_id = ANY(%s) AND view_count IS NOT NULL "
                "AND taken_at BETWEEN %s AND %s"
            ).format(self._table("snapshots")),
            [ids, since, until],
        )
        return [look for (look,) in found]

    def _table(self, beside: str = "") -> Any:
        """The table, or another one in its schema, for a statement."""
        return self._identifier(*self._parts(beside))

    def _quoted(self, connection: Any, beside: str = "") -> str:
        """The same, quoted, as a value."""
        return str(self._sql.Identifier(*self._parts(beside)).as_string(connection))

    def _parts(self, beside: str) -> list[str]:
        return (self._names.beside(beside) if beside else self._names.table).split(".")

    def _identifier(self, *names: str) -> Any:
        return self._sql.Identifier(*(name.replace("%", "%%") for name in names))  # % is a placeholder

    def _type_of_id(self, connection: Any) -> str:
        table = self._quoted(connection)
        found = connection.execute(
            "SELECT format_type(atttypid, -1) FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attname = %s",
            [table, self._names.column("id")],
        ).fetchone()
        if found is None:
            column = self._names.column("id")
            raise DatabaseError(f"{self._names.table} has no column {column}; add --column id=COLUMN")
        return str(found[0])

    def _statement(self, text: str) -> Any:
        """Fill in the table, its columns (`new_` to set one), the id's type and which rows are due."""
        sql = self._sql
        names = {name: self._names.column(name) for name in COLUMNS}
        columns = {name: self._identifier("c", column) for name, column in names.items()}
        columns |= {f"new_{name}": self._identifier(column) for name, column in names.items()}
        due = "{analyzed_at} IS NULL"
        if self._rescore_after_h is not None:
            due = (
                "({analyzed_at} IS NULL OR {analyzed_at} < now() - make_interval(secs => {age}) AND EXISTS ("
                "SELECT 1 FROM {snapshots} s WHERE s.candidate_id = {id}::text AND s.kept_at > {analyzed_at} "
                "AND ROW(s.view_count, s.like_count, s.comment_count) IS DISTINCT FROM (SELECT "
                "ROW(b.view_count, b.like_count, b.comment_count) FROM {snapshots} b "
                "WHERE b.candidate_id = {id}::text "
                "AND b.kept_at <= {analyzed_at} ORDER BY b.kept_at DESC LIMIT 1)))"
            )
        age = sql.Literal(3600 * (self._rescore_after_h or 0))
        return sql.SQL(text).format(
            table=self._table(),
            id_type=sql.SQL(self._id_type),
            id_name=sql.Literal(names["id"].replace("%", "%%")),
            due=sql.SQL(due).format(age=age, snapshots=self._table("snapshots"), **columns),
            **columns,
        )

    def _write(
        self, connection: Any, rows: Mapping[str, Row], scores: Mapping[str, Score]
    ) -> dict[str, Outcome | None]:
        try:
            with connection.transaction():
                written = self._update(connection, rows, scores)
                if self._keeps:
                    self._keep(connection, [(rows[name], scores[name]) for name in written if written[name]])
                return written
        except self._psycopg.Error as exc:
            if not is_of_row(exc.sqlstate, str(exc)):
                raise
            if len(scores) == 1:
                return dict.fromkeys(scores, Refusal(f"the database rejects it: {first_line(exc)}"))
        each = [self._write(connection, rows, {row: score}) for row, score in scores.items()]
        return {row: outcome for one in each for row, outcome in one.items()}

    def _keep(self, connection: Any, scored: Sequence[tuple[Row, Score]]) -> None:
        """Keep the predictions and the counts, in the transaction that writes the scores."""
        predictions = [kept for row, score in scored for kept in predictions_of(row, score)]
        snapshots = [snapshot_of(row) for row, _ in scored]
        for name, columns, kept in (
            ("predictions", PREDICTION, predictions),
            ("snapshots", SNAPSHOT, snapshots),
        ):
            # `kept_at` is when the row was scored, so these counts are not a change since then.
            time = "kept_at" if name == "snapshots" else "predicted_at"
            statement = self._sql.SQL(
                "INSERT INTO {table} ({columns}, {time}) SELECT {columns}, now() "
                "FROM jsonb_populate_recordset(NULL::{table}, %s) ON CONFLICT DO NOTHING"
            ).format(
                table=self._table(name),
                columns=self._sql.SQL(", ").join(map(self._sql.Identifier, columns)),
                time=self._sql.Identifier(time),
            )
            connection.execute(statement, [json.dumps(kept)])

    def _update(
        self, connection: Any, rows: Mapping[str, Row], scores: Mapping[str, Score]
    ) -> dict[str, Outcome | None]:
        """A row in which a trigger restores the old `analyzed_at` is still due and not counted as scored."""
        statement = (
            "UPDATE {table} c SET {new_miles_score} = s.score, {new_predicted_velocity} = s.velocity, "
            "{new_analyzed_at} = now() FROM unnest(%s::{id_type}[], %s::float8[], %s::float8[]) "
            "AS s(id, score, velocity) WHERE {id} = s.id RETURNING {id}::text, to_jsonb({analyzed_at})"
        )
        found = connection.execute(
            self._statement(statement),
            [
                list(scores),
                [score.viral_score for score in scores.values()],
                [score.predicted_velocity for score in scores.values()],
            ],
        )
        written = {row for row, time in found if time != rows[row]["analyzed_at"]}
        return {row: score if row in written else None for row, score in scores.items()}

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """The open connection, or a new one after an error."""
        try:
            if self._open is None:
                self._open = self._connect()
            yield self._open
        except self._psycopg.Error as exc:
            if self._open is not None:
                self._open.close()
                self._open = None
            raise self._translated(exc) from exc

    def _translated(self, exc: Any) -> DatabaseError:
        errors, said = self._psycopg.errors, first_line(exc)
        passing = (self._psycopg.OperationalError, self._psycopg.InterfaceError)
        if isinstance(exc, errors.UndefinedTable | errors.UndefinedColumn):
            return DatabaseError(f"{said}; expected {EXPECTED}")
        # libpq gives these no code of their own, and retrying cannot help.
        lasting = ("authentication failed", "no password supplied", "does not exist", "Servname")
        is_lasting = any(words in said for words in lasting)
        if isinstance(exc, (*passing, errors.IdleInTransactionSessionTimeout)) and not is_lasting:
            return DatabaseLost(f"DATABASE_URL: {said}{NEXT_STEPS.get(exc.sqlstate or '', '')}")
        return DatabaseError(f"DATABASE_URL: {said}")

    def _connect(self) -> Any:
        wanted: dict[str, Any] = {
            "connect_timeout": "15",
            "client_encoding": "UTF8",  # a database without an encoding would send bytes
            "application_name": "miles",
            "keepalives_idle": "30",
        }
        try:
            given = self._psycopg.conninfo.conninfo_to_dict(self._url)
        except self._psycopg.ProgrammingError as exc:  # its text may hold the password
            raise SettingError(
                "DATABASE_URL: not a PostgreSQL URL such as postgresql://user@host/db?sslmode=require; "
                "remove options that libpq lacks, and percent-encode special characters in the password"
            ) from exc
        return self._psycopg.connect(**(wanted | given), autocommit=True, prepare_threshold=None)


def without_foreign_options(url: str) -> str:
    """`url` in libpq's form, without SQLAlchemy's driver and the options of Prisma and Vercel."""
    if "://" not in url:  # libpq's other form, host=... dbname=...
        return url.strip()
    return FOREIGN.sub("", re.sub(r"^(\w+)\+\w+:", r"\1:", url.strip())).rstrip("?&")


def first_line(exc: Exception) -> str:
    """An error's first line, or its type."""
    return shown(str(exc).strip().partition("\n")[0], 300) or type(exc).__name__
