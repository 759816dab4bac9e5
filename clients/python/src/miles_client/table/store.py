"""The database of rows to score, as the run sees it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from miles_client.service import Outcome, Row, Score

FIELDS = (
    *("title", "description", "thumbnail_url", "view_count", "like_count", "comment_count"),
    *("duration_seconds", "upload_date"),
)
COLUMNS = ("id", *FIELDS, "scraped_at", "created_at", "analyzed_at", "miles_score", "predicted_velocity")
PREVIOUS = ("previous_view_count", "previous_observed_at")
EXPECTED = "the table in clients/database/schema.sql; use --table and --column for other names"
KEPT = "the database keeps it unscored: row-level security or a trigger?"


class DatabaseError(Exception):
    """The database cannot be used; the message says why."""


class DatabaseLost(DatabaseError):  # noqa: N818  a state that passes
    """The database did not answer; a retry may help."""


@dataclass(frozen=True)
class Names:
    """The table and its columns, where they differ from clients/database/schema.sql."""

    table: str = "candidates"
    columns: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """The table's name for one of `COLUMNS`."""
        return self.columns.get(name, name)

    def row(self, found: Row) -> Row:
        """A row by the names of `COLUMNS`; its id as text, whatever its type."""
        row = {name: found.get(self.column(name)) for name in COLUMNS}
        return row | {"id": str(row["id"])}

    def beside(self, name: str) -> str:
        """Another table in the same schema."""
        schema, dot, _ = self.table.rpartition(".")
        return f"{schema}{dot}{name}"


@dataclass(frozen=True)
class Claim:
    """Rows to score, and a function that writes their scores: {id: score} -> {id: outcome}."""

    rows: list[Row]
    write: Callable[[Mapping[str, Score]], dict[str, Outcome | None]]
    """None where nothing was updated, a `Refusal` where the database rejects the score."""


class Store(Protocol):
    """A database of rows to score."""

    def keeps(self) -> bool:
        """Whether there are the tables of clients/database/loop.sql."""

    def pending(self) -> int:
        """The number of rows to score."""

    def claim(self, count: int, skip: set[str]) -> AbstractContextManager[Claim]:
        """At most `count` of them, oldest first, without those in `skip`."""

    def kept(self, count: int, skip: set[str]) -> list[Row]:
        """At most `count` rows that can be read but not claimed, although no other run holds them."""

    def unscored(self, rows: Sequence[Row]) -> set[str]:
        """The ids of those `rows` that are still without a new score."""


def video_of(row: Row) -> Row:
    """The request for a row, without nulls; the counts are as old as the row."""
    video = {name: row[name] for name in (*FIELDS, *PREVIOUS) if row.get(name) is not None}
    seen = row.get("scraped_at") or row.get("created_at")
    return video | ({"scraped_at": seen} if seen else {})
