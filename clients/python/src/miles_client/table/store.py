"""The database of rows to score, as the run sees it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from miles_client.names import is_unknown, near
from miles_client.service import Outcome, Row, Score

FIELDS = (
    *("title", "description", "thumbnail_url", "view_count", "like_count", "comment_count"),
    *("duration_seconds", "upload_date"),
)
COLUMNS = ("id", *FIELDS, "scraped_at", "created_at", "analyzed_at", "miles_score", "predicted_velocity")
PREVIOUS = ("previous_view_count", "previous_observed_at")
EXPECTED = "the table in clients/database/schema.sql; use --table and --column for other names"
KEPT = "the database keeps it unscored: row-level security or a trigger?"
# The next step after SQLSTATEs that have one.
NEXT_STEPS = {"57014": "; add the index in clients/database/schema.sql, or raise statement_timeout"}
# Classes of SQLSTATE that concern the connection, the table or the server. All others concern a row:
# its values, its constraints, and whatever its triggers raise.
NOT_OF_ROW = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58", "F0", "HV", "XX")


class DatabaseError(Exception):
    """The database cannot be used; the message says why."""


class DatabaseLost(DatabaseError):  # noqa: N818  a temporary state
    """The database did not answer; a retry may help, after `retry_after_s` if it says so."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


def is_of_row(sqlstate: str | None, text: str) -> bool:
    """Whether a write failed because of its row; otherwise every row would fail."""
    code = sqlstate or ""
    is_policys = code == "42501" and "row-level security" in text
    return is_policys or (len(code) == 5 and code[:2] not in NOT_OF_ROW)


@dataclass(frozen=True)
class Names:
    """The table and its columns, where they differ from clients/database/schema.sql."""

    table: str = "candidates"
    columns: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """The table's name for one of `COLUMNS`."""
        return self.columns.get(name, name)

    def rows(self, found: Sequence[Row]) -> list[Row]:
        """Rows keyed by the names in `COLUMNS`, with ids as text whatever their type.

        Raises `DatabaseError` if a required column is missing, or if an id is null or the same in two rows.
        """
        if found:
            self._check(found[0])
        rows = [{name: row.get(self.column(name)) for name in COLUMNS} for row in found]
        ids = [row["id"] for row in rows]
        if None in ids or len(set(ids)) < len(ids):
            raise self.ambiguous("is null in a row" if None in ids else "is the same in two rows")
        return [row | {"id": str(row["id"])} for row in rows]

    def ambiguous(self, what: str) -> DatabaseError:
        """The error for an id column that does not identify each row."""
        return DatabaseError(
            f"{self.table}.{self.column('id')} {what}; add --column id=COLUMN with one that is unique"
        )

    def lacking(self, found: Collection[str]) -> list[str]:
        """The fields of a request for which the table has no column."""
        return [name for name in FIELDS if self.column(name) not in found]

    def beside(self, name: str) -> str:
        """Another table in the same schema."""
        schema, dot, _ = self.table.rpartition(".")
        return f"{schema}{dot}{name}"

    def _check(self, found: Collection[str]) -> None:
        wrong = [column for column in self.columns.values() if column and column not in found]
        if wrong:
            raise DatabaseError(f"{self.table} has no column {wrong[0]}; expected {EXPECTED}")
        lacking = self.lacking(found)
        looks = near(found, {name: self.column(name) for name in COLUMNS if self.column(name) in found})
        if "title" in lacking:
            option = f"--column title={looks.get('title', 'COLUMN')}"
            raise DatabaseError(f"{self.table} has no column title; add {option}")
        if "view_count" in lacking and "view_count" in looks and "view_count" not in self.columns:
            option = f"--column view_count={looks['view_count']}, or --column view_count= to score without"
            raise DatabaseError(f"{self.table} has no column view_count; add {option}")


@dataclass(frozen=True)
class Claim:
    """Rows to score, and a function that writes their scores: {id: score} -> {id: outcome}."""

    rows: list[Row]
    lacking: list[str]
    """The fields of a request for which the table has no column."""
    write: Callable[[Mapping[str, Score]], dict[str, Outcome | None]]
    """None where nothing was updated, a `Refusal` where the database rejects the score.

    Rows that were not reached because the database went away are missing.
    """


def video_of(row: Row) -> Row:
    """The request for a row, without unknown values; its counts date from `scraped_at`, else `created_at`."""
    video = {name: row[name] for name in (*FIELDS, *PREVIOUS) if not is_unknown(name, row.get(name))}
    seen = row.get("scraped_at") or row.get("created_at")
    return video | ({"scraped_at": seen} if seen else {})
