"""Keeps what was scored in the tables of clients/database/loop.sql, if the output database has them."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, LiteralString

if TYPE_CHECKING:
    import psycopg

LOOK = "look"
"""The key of a result's look, which is not a column of the output."""
COUNTS = ("view_count", "like_count", "comment_count")
GIVEN: LiteralString = "FROM jsonb_populate_recordset(NULL::predictions, %s) ON CONFLICT DO NOTHING"
COLUMNS: LiteralString = (
    "id, candidate_id, observed_at, view_count, like_count, comment_count, model_version, viral_score, "
    "predicted_velocity, velocity_low, velocity_high, known, image, warnings"
)
INSERTS: tuple[LiteralString, ...] = (
    "INSERT INTO snapshots (candidate_id, taken_at, view_count, like_count, comment_count, kept_at) "
    f"SELECT candidate_id, observed_at, view_count, like_count, comment_count, now() {GIVEN}",
    f"INSERT INTO predictions ({COLUMNS}) SELECT {COLUMNS} {GIVEN}",
)
OF_RESULT = (
    *("viral_score", "predicted_velocity", "velocity_low", "velocity_high", "model_version", "image"),
    "warnings",
)


def keep(
    connection: "psycopg.Connection[tuple[Any, ...]]", key: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Keep scored rows, whose `key` is the candidate's id, in the open transaction; nothing is kept twice."""
    tables = connection.execute("SELECT to_regclass('predictions'), to_regclass('snapshots')").fetchone()
    if not rows or tables is None or None in tables:
        return
    kept = json.dumps([_prediction(str(row[key]), row) for row in rows])
    for statement in INSERTS:
        connection.execute(statement, [kept])


def _prediction(candidate: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `predictions`; its id is the one that clients/trigger_inference.py gives the same look."""
    look = row[LOOK]
    counts = [look[name] for name in COUNTS]
    name = json.dumps([candidate, look["observed_at"], *counts, row["model_version"]])
    return {
        "id": str(uuid.uuid5(uuid.NAMESPACE_OID, name)),
        "candidate_id": candidate,
        **look,
        **{column: row[column] for column in OF_RESULT},
    }
