"""What is to be scored, how, and how it is cut into parts: all that a part's result depends on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.http.schemas import PredictRequest

OBSERVED = ("observed_at", "scraped_at")
NOT_COLUMNS = {"require", "explain"}


class JobError(Exception):
    """A job that cannot be done as asked: names the file, both values and the next step."""


@dataclass(frozen=True)
class Part:
    """Some consecutive rows: the unit that is finished or not.

    `start` and `stop` are bytes of a CSV file, or a row group and the rows in it that stand before these.
    Of a database `path` is the first and the last key, as JSON.
    """

    number: int
    first_row: int
    rows: int
    path: str
    start: int
    stop: int


@dataclass(frozen=True)
class Job:
    """Plain values alone: it travels to the workers, and lies beside the results as `_job.json`."""

    source: str
    digest: str
    """Of the input: results of another input are never added to these."""
    fields: Mapping[str, str]
    """Column by field of a request."""
    keep: Sequence[str]
    part_rows: int
    require: Sequence[str]
    exact: bool
    """Each video alone in its forward: a score then depends on nothing else, to the last digit."""
    observed_at: str
    """When the counts were read, for rows that do not say: one moment for all of them, on every run."""
    into: str = ""
    """The table of scores, when there is one."""

    def begin(self, output: Path) -> "Job":
        """The job of `output`: this one, or the same that was begun before. Raises `JobError` for another."""
        path = output / "_job.json"
        if not path.exists():
            if output.exists() and any(output.iterdir()):
                raise JobError(
                    f"{output}: is not empty and holds no job of ours; name an empty or new folder"
                )
            output.mkdir(parents=True, exist_ok=True)
            job = replace(self, observed_at=self.observed_at or now())
            write_whole(path, json.dumps(asdict(job), indent=1).encode())
            return job
        begun = Job(**json.loads(path.read_text(encoding="utf-8")))
        mine, its = (json.loads(json.dumps(asdict(job))) for job in (self, begun))
        mine["observed_at"] = self.observed_at or its["observed_at"]
        different = [name for name in mine if mine[name] != its[name]]
        if different:
            lines = "; ".join(f"{name} was {its[name]!r} and is {mine[name]!r}" for name in different)
            raise JobError(f"{output}: was begun as another job: {lines}. Name another folder.")
        return begun

    def video(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The request for a row."""
        video = {field: row[column] for field, column in self.fields.items() if row[column] is not None}
        if not any(video.get(name) for name in OBSERVED):
            video[OBSERVED[0]] = self.observed_at
        return video | {"require": list(self.require)}


def fields_of(columns: Sequence[str], named: Sequence[str], *, thumbnails: bool) -> dict[str, str]:
    """Column by field: those of the same name, then what `named` says as `field=column`."""
    known = {
        name
        for field, about in PredictRequest.model_fields.items()
        for name in (field, *getattr(about.validation_alias, "choices", ()))
    } - NOT_COLUMNS
    found = {name: name for name in columns if name in known}
    for pair in named:
        field, _, column = pair.partition("=")
        if field not in known or column not in columns:
            raise JobError(
                f"--map {pair}: a field of {', '.join(sorted(known))}, "
                f"then =, then a column of {list(columns)}"
            )
        found[field] = column
    if "title" not in found:
        raise JobError(f"no column `title` among {list(columns)}; name it: --map title=COLUMN")
    if not thumbnails:
        found.pop("thumbnail_url", None)
    return found


def digest_of(paths: Sequence[Path]) -> str:
    """Names, sizes and times of change: enough to see that an input is another one, without reading it."""
    seen = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(seen).encode()).hexdigest()[:16]


def now() -> str:
    """This moment, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(path)
