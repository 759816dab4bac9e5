"""The results of a job on disk: Parquet files for each finished part.

    OUT/part-000000000.parquet            scored rows, in the input's order
    OUT/_rejected/part-000000000.parquet  rejected rows with the reason
    OUT/_journal/                         unfinished parts: a line for each finished row
    OUT/_job.json  OUT/_model             the job and the model, so that results are never mixed

Readers of Parquet folders skip names that begin with an underscore. A part's file is written atomically and
last, so a part whose file exists is finished.
"""

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from deploy.score_dataset.job import JobError, Part, write_atomically
from deploy.score_dataset.postgres import TableOut

SCORE = {
    "viral_score": pa.float64(),
    "predicted_velocity": pa.float64(),
    "velocity_low": pa.float64(),
    "velocity_high": pa.float64(),
    "confidence": pa.float64(),
    "in_range": pa.bool_(),
    "model_version": pa.string(),
    "text": pa.string(),
    "image": pa.string(),
    "scalars": pa.string(),
    "warnings": pa.list_(pa.string()),
}
REJECTED = {"reason": pa.string(), "content": pa.string()}
ROW = "row"
NOT_MISSED = ("missing: no_thumbnail", "missing: no_image_tower")
Result = dict[str, Any]


class Results:
    """The output folder of a job."""

    def __init__(self, folder: Path, kept: pa.Schema, into: TableOut | None = None) -> None:
        self.folder, self._kept, self._into = folder, kept, into
        for name in kept.names:
            if name in (ROW, *SCORE, *REJECTED):
                raise JobError(f"--keep {name}: is the name of a result column; rename the input's column")

    def prepare(self) -> None:
        """Create the folders and remove unfinished files of an interrupted run."""
        for name in ("_rejected", "_journal"):
            (self.folder / name).mkdir(exist_ok=True)
        for path in self.folder.rglob(".*.unfinished"):
            path.unlink()

    def pin_model(self, fingerprint: str) -> None:
        """Record the model. Raises `JobError` if other parts were scored by another model."""
        path = self.folder / "_model"
        if not path.exists():
            write_atomically(path, fingerprint.encode())
        if (other := path.read_text()) != fingerprint:
            raise JobError(
                f"{self.folder}: was started with model {other}, this is model {fingerprint}. "
                "Name another folder, or restore the checkpoint."
            )

    def finished(self) -> set[int]:
        """The numbers of the finished parts."""
        return {int(path.stem.removeprefix("part-")) for path in self.folder.glob("part-*.parquet")}

    def is_finished(self, part: Part) -> bool:
        """Whether a part is finished."""
        return self._path(part).exists()

    def journal(self, part: Part) -> "Journal":
        """The journal of an unfinished part."""
        return Journal(self.folder / "_journal" / f"part-{part.number:09}.jsonl")

    def commit(self, part: Part, results: Mapping[int, Result]) -> int:
        """Write a finished part from results by row, and return the number of rejected rows."""
        ordered = [{ROW: part.first_row + index, **results[index]} for index in sorted(results)]
        rejected = [result for result in ordered if "reason" in result]
        if rejected:
            self._write(self.folder / "_rejected" / self._path(part).name, rejected, REJECTED)
        scored = [result for result in ordered if "reason" not in result]
        if self._into is not None:
            self._into.write(scored)  # before the part counts as finished: an interruption only repeats it
        self._write(self._path(part), scored, SCORE)
        return len(rejected)

    def close(self) -> tuple[int, int]:
        """Remove the journals once all parts are finished; the numbers of scored and of rejected rows."""
        shutil.rmtree(self.folder / "_journal", ignore_errors=True)
        return _count(self.folder.glob("part-*")), _count((self.folder / "_rejected").glob("part-*"))

    def unusable_images(self) -> dict[str, int]:
        """How many scored rows have no usable thumbnail, by reason; the most frequent first."""
        counts = Counter[str]()
        for path in self.folder.glob("part-*.parquet"):
            counts.update(pq.read_table(path, columns=["image"])["image"].to_pylist())
        reasons = {state: state.partition(": ")[2] for state in counts if state not in NOT_MISSED}
        return {reasons[state]: count for state, count in counts.most_common() if reasons.get(state)}

    def _path(self, part: Part) -> Path:
        return self.folder / f"part-{part.number:09}.parquet"

    def _write(self, path: Path, rows: Sequence[Result], kinds: Mapping[str, pa.DataType]) -> None:
        fields = [(ROW, pa.int64()), *((field.name, field.type) for field in self._kept), *kinds.items()]
        sink = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), sink)
        write_atomically(path, sink.getvalue())


class Journal:
    """The finished rows of an unfinished part, one line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: IO[str] | None = None

    def done(self) -> dict[int, Result]:
        """Results by row index from an interrupted run; an incomplete last line is removed."""
        if not self._path.exists():
            return {}
        complete = self._path.read_bytes().rpartition(b"\n")[0]
        lines = [json.loads(line) for line in complete.splitlines()]
        self._path.write_bytes(complete + b"\n" if complete else b"")
        return {line["index"]: line["result"] for line in lines}

    def __enter__(self) -> Self:
        self._opened = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def add(self, index: int, result: Result) -> None:
        """Record a row's result; it survives the process once this returns."""
        assert self._opened is not None, "rows are added within the journal's context"
        self._opened.write(json.dumps({"index": index, "result": result}) + "\n")
        self._opened.flush()

    def record_attempt(self, run: str) -> int:
        """Record that a worker of `run` starts the part; the number of earlier attempts of that run."""
        before = self._read(".attempts")
        self._path.with_suffix(".attempts").write_text(" ".join([*before, run]), encoding="utf-8")
        return before.count(run)

    def suspects(self) -> list[int]:
        """The rows that were being scored when workers died repeatedly, in order."""
        return [int(number) for number in self._read(".suspects")]

    def suspect(self, indices: Sequence[int], run: str) -> None:
        """Record that a worker of `run` scores these rows one at a time; earlier attempts no longer count."""
        self._path.with_suffix(".suspects").write_text(" ".join(map(str, indices)), encoding="utf-8")
        self._path.with_suffix(".attempts").write_text(run, encoding="utf-8")

    def remove(self) -> None:
        """Delete the journal of a finished part."""
        for suffix in (self._path.suffix, ".attempts", ".suspects"):
            self._path.with_suffix(suffix).unlink(missing_ok=True)

    def _read(self, suffix: str) -> list[str]:
        path = self._path.with_suffix(suffix)
        return path.read_text(encoding="utf-8").split() if path.exists() else []


def _count(paths: Iterator[Path]) -> int:
    return sum(pq.read_metadata(path).num_rows for path in paths)
