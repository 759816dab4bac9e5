"""The results of a job on disk: a Parquet file for each finished part, and one for what was set aside.

    OUT/part-000000000.parquet            a row for each row that has a score, in the input's order
    OUT/_rejected/part-000000000.parquet  rows without one, and why
    OUT/_journal/                         parts under way: a line for each row that is done
    OUT/_job.json  OUT/_model             what this is; another job or model is never mixed in

Readers of Parquet folders pass over names that begin with an underscore. A part's file appears whole and
last, so what is there is finished.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from deploy.score_dataset.job import JobError, Part, write_whole

SCORE = {
    "viral_score": pa.float64(),
    "predicted_velocity": pa.float64(),
    "confidence": pa.float64(),
    "model_version": pa.string(),
    "text": pa.string(),
    "image": pa.string(),
    "scalars": pa.string(),
    "warnings": pa.list_(pa.string()),
}
REJECTED = {"reason": pa.string(), "content": pa.string()}
ROW = "row"
Result = dict[str, Any]


class Into(Protocol):
    """Where scores go besides the folder."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """All of them or none, as often as it is asked."""


class Results:
    """The folder of a job."""

    def __init__(self, folder: Path, kept: pa.Schema, into: Into | None = None) -> None:
        self.folder, self._kept, self._into = folder, kept, into
        for name in kept.names:
            if name in (ROW, *SCORE, *REJECTED):
                raise JobError(f"--keep {name}: is the name of a result; rename the column")

    def prepare(self) -> None:
        """Make the folders, and remove what a part that was cut short left."""
        for name in ("_rejected", "_journal"):
            (self.folder / name).mkdir(exist_ok=True)
        for path in self.folder.rglob(".*.unfinished"):
            path.unlink()

    def pin_model(self, fingerprint: str) -> None:
        """Raises `JobError` when parts were scored by another model."""
        path = self.folder / "_model"
        if not path.exists():
            write_whole(path, fingerprint.encode())
        if (other := path.read_text()) != fingerprint:
            raise JobError(
                f"{self.folder}: was begun with the model {other}, and this is {fingerprint}. "
                "Name another folder, or put the checkpoint back."
            )

    def finished(self) -> set[int]:
        """The numbers of the parts that need no work any more."""
        return {int(path.stem.removeprefix("part-")) for path in self.folder.glob("part-*.parquet")}

    def is_finished(self, part: Part) -> bool:
        """Whether a part needs no work any more."""
        return self._path(part).exists()

    def journal(self, part: Part) -> "Journal":
        """What is done of a part."""
        return Journal(self.folder / "_journal" / f"part-{part.number:09}.jsonl")

    def commit(self, part: Part, results: Mapping[int, Result]) -> int:
        """Make a part finished; `results` by row. Returns how many rows were set aside."""
        ordered = [{ROW: part.first_row + index, **results[index]} for index in sorted(results)]
        rejected = [result for result in ordered if "reason" in result]
        if rejected:
            self._write(self.folder / "_rejected" / self._path(part).name, rejected, REJECTED)
        scored = [result for result in ordered if "reason" not in result]
        if self._into is not None:
            self._into.write(
                scored
            )  # before the part counts as finished: cut short in between, it is done again
        self._write(self._path(part), scored, SCORE)
        return len(rejected)

    def close(self) -> tuple[int, int]:
        """When all parts are finished: remove the journals; (rows with a score, rows set aside)."""
        shutil.rmtree(self.folder / "_journal", ignore_errors=True)
        return _count(self.folder.glob("part-*")), _count((self.folder / "_rejected").glob("part-*"))

    def _path(self, part: Part) -> Path:
        return self.folder / f"part-{part.number:09}.parquet"

    def _write(self, path: Path, rows: Sequence[Result], kinds: Mapping[str, pa.DataType]) -> None:
        fields = [(ROW, pa.int64()), *((field.name, field.type) for field in self._kept), *kinds.items()]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), sink)
        write_whole(path, sink.getvalue())


class Journal:
    """One part's rows that are done, a line each, as they get done."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: IO[str] | None = None

    def done(self) -> dict[int, Result]:
        """Results by index, from a run that was cut short; a line that was cut, too, is none."""
        if not self._path.exists():
            return {}
        whole = self._path.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        self._path.write_bytes(whole + b"\n" if whole else b"")
        return {line["index"]: line["result"] for line in lines}

    def __enter__(self) -> Self:
        self._opened = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def add(self, index: int, result: Result) -> None:
        """One more, within the context; it outlives the process from when this returns."""
        assert self._opened is not None, "rows are added to a journal that is open"
        self._opened.write(json.dumps({"index": index, "result": result}) + "\n")
        self._opened.flush()

    def begun_before(self, run: str) -> int:
        """How often workers of this run began the part before this one, which is written down."""
        path = self._path.with_suffix(".begun")
        before = path.read_text(encoding="utf-8").split() if path.exists() else []
        path.write_text(" ".join([*before, run]), encoding="utf-8")
        return before.count(run)

    def begin_anew(self) -> None:
        """What ended the workers is set aside."""
        self._path.with_suffix(".begun").unlink(missing_ok=True)

    def remove(self) -> None:
        """The part is finished."""
        self._path.unlink(missing_ok=True)
        self.begin_anew()


def _count(paths: Iterator[Path]) -> int:
    return sum(pq.read_metadata(path).num_rows for path in paths)
