"""A scoring job: input, options, and the parts that the input is split into."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from features.parsing import OTHER_NAMES, is_unknown_cell
from serving.http.requests import PredictRequest

OBSERVED = ("observed_at", "scraped_at")
TEXTS = {"title", "description", "thumbnail_url", "thumbnail"}
NOT_COLUMNS = {"require", "explain"}


class JobError(Exception):
    """A job that cannot run; the message names the file, both values and the next step."""


@dataclass(frozen=True)
class Part:
    """Consecutive rows that are finished together.

    `start` and `stop` are byte offsets in a CSV file, or a Parquet row group and the number of rows to skip
    in it. For a database, `path` is the first and the last key as JSON.
    """

    number: int
    first_row: int
    rows: int
    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class Job:
    """Everything that a part's result depends on; sent to the workers and saved as `_job.json`."""

    source: str
    digest: str
    """Digest of the input, so that results of different inputs are never mixed."""
    fields: Mapping[str, str]
    """Column of each request field."""
    keep: Sequence[str]
    part_rows: int
    require: Sequence[str]
    exact: bool
    """Each video has a forward of its own, so that its score depends on no other video."""
    observed_at: str
    """Used for rows without a time at which their counts were read; the same in every run of the job."""
    into: str = ""
    """The table that scores are written to, if any."""

    def begin(self, output: Path) -> "Job":
        """Start this job in `output`, or return the same job started before.

        Raises `JobError` if `output` belongs to another job.
        """
        path = output / "_job.json"
        if not path.exists():
            if output.exists() and any(output.iterdir()):
                raise JobError(
                    f"{output}: is not empty and contains no scoring job; name an empty or new folder"
                )
            output.mkdir(parents=True, exist_ok=True)
            job = replace(self, observed_at=self.observed_at or now())
            write_atomically(path, json.dumps(asdict(job), indent=1).encode())
            return job
        begun = Job(**json.loads(path.read_text(encoding="utf-8")))
        mine, its = (json.loads(json.dumps(asdict(job))) for job in (self, begun))
        mine["observed_at"] = self.observed_at or its["observed_at"]
        different = [name for name in mine if mine[name] != its[name]]
        if different:
            changes = "; ".join(f"{name} was {its[name]!r}, now {mine[name]!r}" for name in different)
            raise JobError(f"{output}: belongs to another job: {changes}. Name another folder.")
        return begun

    def video(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The request for a row."""
        cells = {field: row[column] for field, column in self.fields.items()}
        video = {field: cell for field, cell in cells.items() if not _is_unknown(field, cell)}
        if not any(video.get(name) for name in OBSERVED):
            video[OBSERVED[0]] = self.observed_at
        return video | {"require": list(self.require)}


def _is_unknown(field: str, cell: object) -> bool:
    """Whether a cell says nothing; N/A and the like may be a title."""
    return cell is None or (field not in TEXTS and isinstance(cell, str) and is_unknown_cell(cell))


def fields_of(columns: Sequence[str], mapped: Sequence[str], *, thumbnails: bool) -> dict[str, str]:
    """Column of each request field: columns of the same name, then `mapped` pairs `field=column`.

    Raises `JobError` for an unknown field or column, and without a title.
    """
    known = {
        name for field in PredictRequest.model_fields for name in (field, *OTHER_NAMES.get(field, ()))
    } - NOT_COLUMNS
    found = {name: name for name in columns if name in known}
    for pair in mapped:
        field, _, column = pair.partition("=")
        if field not in known or column not in columns:
            raise JobError(
                f"--map {pair}: expected FIELD=COLUMN with a field of {', '.join(sorted(known))} "
                f"and a column of {', '.join(columns)}"
            )
        found[field] = column
    if "title" not in found:
        raise JobError(f"no column `title` among {', '.join(columns)}; name it: --map title=COLUMN")
    if not thumbnails:
        for name in ("thumbnail_url", *OTHER_NAMES["thumbnail_url"]):
            found.pop(name, None)
    return found


def digest_of(paths: Sequence[Path]) -> str:
    """Digest of names, sizes and modification times, which detects a changed input without reading it."""
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def now() -> str:
    """The current time in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that either exists completely or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
