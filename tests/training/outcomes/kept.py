"""Predictions and later looks in a real PostgreSQL, as the scraper and its step leave them."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg

from deploy.demo.database import Database
from tests.support.postgres import Candidates, separate
from tests.support.service import ROOT
from training.outcomes.looks import Looked

NOW = datetime.now(UTC).replace(microsecond=0)
VERSION, OTHER = "miles-v1.0+aaaaaaaa", "miles-v1.0+bbbbbbbb"
KNOWN = ("title", "view_count", "published_at", "observed_at")


@dataclass(frozen=True)
class Kept:
    """A prediction, and later looks at the same video as (hours, views)."""

    video: str
    looks: Sequence[tuple[float, int]] = ()
    views: int | None = 1000
    days_ago: float = 10
    score: float = 0.5
    velocity: float = 500.0
    interval: tuple[float, float] | None = (250.0, 1000.0)
    version: str = VERSION
    known: Sequence[str] = KNOWN
    shadow: "Kept | None" = None
    id: uuid.UUID = field(default_factory=uuid.uuid4)


class Loop(Candidates):
    """The tables of the loop in a database of their own."""

    @classmethod
    def on(cls, database: Database) -> "Loop":
        """New, empty tables."""
        found = cls(separate(database))
        for name in ("schema", "loop"):
            found.run((ROOT / "clients" / "database" / f"{name}.sql").read_bytes())  # type: ignore[arg-type]
        return found

    def keep(self, rows: Sequence[Kept]) -> None:
        """Insert predictions, those of their shadows, and the looks."""
        predictions = [_prediction(row, row.shadow, beside) for row in rows for beside in (False, True)]
        snapshots = {
            (row.video, moment): views
            for row in rows
            for moment, views in ((_seen(row) + timedelta(hours=hours), views) for hours, views in row.looks)
        }
        looks = [
            {"candidate_id": video, "taken_at": moment.isoformat(), "view_count": views}
            for (video, moment), views in snapshots.items()
        ]
        with psycopg.connect(self.url) as connection:
            connection.execute(
                "INSERT INTO predictions SELECT * FROM jsonb_populate_recordset(NULL::predictions, %s)",
                [json.dumps([each for each in predictions if each])],
            )
            connection.execute(
                "INSERT INTO snapshots (candidate_id, taken_at, view_count) SELECT candidate_id, taken_at, "
                "view_count FROM jsonb_populate_recordset(NULL::snapshots, %s)",
                [json.dumps(looks)],
            )


def _seen(row: Kept) -> datetime:
    return NOW - timedelta(days=row.days_ago)


def _prediction(row: Kept, shadow: Kept | None, beside: bool) -> dict[str, Any] | None:
    scored = shadow if beside else row
    if scored is None:
        return None
    low, high = scored.interval or (None, None)
    return {
        "id": str(scored.id),
        "candidate_id": row.video,
        "predicted_at": NOW.isoformat(),
        "observed_at": _seen(row).isoformat(),
        "view_count": row.views,
        "model_version": scored.version,
        "viral_score": scored.score,
        "predicted_velocity": scored.velocity,
        "velocity_low": low,
        "velocity_high": high,
        "known": list(row.known),
        "warnings": [],
        "shadow_of": str(row.id) if beside else None,
    }


def drawn(count: int, *, shadow_error: float | None = None, seed: int = 18) -> list[Kept]:
    """Predictions that are off by about a factor of 2.7; a shadow's, if any, by e to the `shadow_error`."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        rate = float(np.exp(draw.normal(6, 1.5)))
        error, other = draw.normal(0, 1, 2)
        rows.append(
            Kept(
                video=f"video-{number // 2}",
                looks=[(24, 1000 + round(rate))],
                days_ago=5 + 0.5 * (number // 2 % 60) + 4 * (number % 2),
                known=KNOWN if number % 3 else ("title",),
                version=VERSION if number % 4 else OTHER,
                shadow=None if shadow_error is None else _guess("shadow", rate, shadow_error * other),
                **_guessed(rate, error),
            )
        )
    return rows


def looked(rows: Sequence[Kept]) -> list[Looked]:
    """These predictions as they are read, each judged by its first later look."""
    found = []
    for row in rows:
        rate = row.looks[0][1] - 1000.0
        for scored, beside in ((row, None), *(((row.shadow, str(row.id)),) if row.shadow else ())):
            figures = (_seen(row), scored.score, scored.velocity, scored.interval, tuple(row.known))
            found.append(Looked(str(scored.id), row.video, beside, scored.version, *figures, "judged", rate))
    return found


def _guess(version: str, rate: float, error: float) -> Kept:
    return Kept(video="", version=version, **_guessed(rate, error))


def _guessed(rate: float, error: float) -> dict[str, Any]:
    velocity = rate * float(np.exp(error))
    return {
        "velocity": velocity,
        "score": float(1 / (1 + np.exp(-(np.log(velocity) - 7)))),
        "interval": (velocity / np.e, velocity * np.e),
    }
