"""What is kept for a score: the prediction and the counts that were scored; and the previous look."""

import json
import re
import uuid
from collections.abc import Callable
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import Any

from miles_client.service import Row, Score
from miles_client.table.store import PREVIOUS, video_of

# How much older than a look its previous look may be, as in the training data.
LOOKS_APART = (timedelta(hours=6), timedelta(hours=96))
# The service refuses a look that was taken longer than this before the video was published.
MAX_BEFORE_PUBLICATION = timedelta(days=1)
EPOCH = re.compile(r"\d{10}(\d{3})?(?:\.\d*)?")
COUNTS = ("view_count", "like_count", "comment_count")
SNAPSHOT = ("candidate_id", "taken_at", *COUNTS)
PREDICTION = (
    *("id", "candidate_id", "observed_at", *COUNTS, "model_version", "viral_score", "predicted_velocity"),
    *("velocity_low", "velocity_high", "known", "image", "warnings", "request_id", "shadow_of"),
)


def time_in(value: Any) -> datetime | None:
    """A column's time in UTC: ISO 8601, or Unix seconds or milliseconds; None for anything else."""
    text = str(value)
    try:
        if epoch := EPOCH.fullmatch(text):
            return datetime.fromtimestamp(float(text) / (1000 if epoch[1] else 1), UTC)
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def look_time(row: Row) -> datetime | None:
    """When the row's counts were read; None if the row does not say, or not as a time."""
    return time_in(row.get("scraped_at") or row.get("created_at"))


def with_previous_looks(rows: list[Row], looks_of: Callable[[list[str], str, str], list[Row]]) -> list[Row]:
    """The rows with their previous looks; `looks_of` gives the snapshots of ids between two times."""
    found_times = ((row["id"], look_time(row)) for row in rows)
    times = {name: moment for name, moment in found_times if moment and 1 < moment.year < MAXYEAR}
    if not times:
        return rows
    published = {row["id"]: time_in(row.get("upload_date")) for row in rows}
    nearest, farthest = LOOKS_APART
    since, until = min(times.values()) - farthest, max(times.values()) - nearest
    previous: dict[str, Row] = {}
    found = looks_of(list(times), since.astimezone(UTC).isoformat(), until.astimezone(UTC).isoformat())
    for look in sorted(found, key=lambda look: datetime.fromisoformat(look["taken_at"])):
        name, taken_at = look["candidate_id"], datetime.fromisoformat(look["taken_at"])
        begun = published[name]
        is_of_video = begun is None or begun - taken_at <= MAX_BEFORE_PUBLICATION
        if is_of_video and nearest <= times[name] - taken_at <= farthest and look["view_count"] >= 0:
            values = (look["view_count"], look["taken_at"])
            previous[name] = dict(zip(PREVIOUS, values, strict=True))
    return [row | previous.get(row["id"], {}) for row in rows]


def whole(count: Any) -> int | None:
    """A count from a numeric column, or in digits; None for anything else, which `snapshots` cannot hold."""
    if isinstance(count, str):
        try:
            count = float(count.replace(",", ""))
        except ValueError:
            return None
    return int(count) if isinstance(count, int | float) and count == count // 1 else None


def snapshot_of(row: Row) -> Row:
    """The counts that were scored, as a row of `snapshots`."""
    taken_at = look_time(row) or datetime.now(UTC)
    counts = {name: whole(row.get(name)) for name in COUNTS}
    return {"candidate_id": row["id"], "taken_at": taken_at.isoformat(), **counts}


def predictions_of(row: Row, score: Score) -> list[Row]:
    """A score as a row of `predictions`, and another row for the shadow's score if there is one.

    The same counts of the same video and the same model give the same id, so nothing is kept twice. A row
    that does not say when its counts were read gets the time of the run, which is not part of the id.
    """
    snapshot, answer = snapshot_of(row), score.answer
    modalities = answer.get("modalities") or {}
    image, imputed = modalities.get("image") or {}, (modalities.get("scalars") or {}).get("imputed") or []
    own = {"upload_date": "published_at", "scraped_at": "observed_at"}
    known = sorted({own.get(name, name) for name in video_of(row)} - set(imputed))
    kept: list[Row] = []
    for scored in filter(None, (answer, answer.get("shadow"))):
        interval = scored.get("velocity_interval") or {}
        version = scored.get("model_version") or "unknown"
        look = [*(snapshot | {"taken_at": look_time(row) and snapshot["taken_at"]}).values(), version]
        kept.append(
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, json.dumps(look))),
                "candidate_id": row["id"],
                "observed_at": snapshot["taken_at"],
                **{name: snapshot[name] for name in COUNTS},
                "model_version": version,
                "viral_score": scored["viral_score"],
                "predicted_velocity": scored["predicted_velocity"],
                "velocity_low": interval.get("low"),
                "velocity_high": interval.get("high"),
                "known": known,
                "image": ": ".join(filter(None, (image.get("state"), image.get("reason")))) or None,
                "warnings": answer.get("warnings") or [],
                "request_id": score.request_id,
                "shadow_of": kept[0]["id"] if kept else None,
            }
        )
    return kept
