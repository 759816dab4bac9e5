"""A dataset's parts: read by position, finished once, joined in the input's order."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.score_dataset.job import Job, JobError, Part, digest_of, fields_of
from deploy.score_dataset.results import Results
from deploy.score_dataset.sources import Malformed, opened_table
from tests.scale.dataset import COLUMNS, write_csv

NO_COLUMNS = pa.schema([])


def test_a_missing_file_is_reported_as_missing(tmp_path: Path) -> None:
    """Its extension is right, so a list of formats alone would not help."""
    with pytest.raises(JobError, match=r"none\.csv: no such file or folder; expected a \.csv"):
        opened_table(tmp_path / "none.csv")


def test_parts_of_a_csv_file_are_its_rows(tmp_path: Path) -> None:
    """Quoted line ends included, whatever the size of a part."""
    table = opened_table(write_csv(tmp_path / "in.csv", 100))
    whole = [row for part in table.parts(1000) for row in table.rows(part, COLUMNS)]
    for size in (1, 7, 101):
        parts = list(table.parts(size))
        rows = [row for part in parts for row in table.rows(part, COLUMNS)]
        assert rows == whole
        assert [part.first_row for part in parts] == list(range(0, 101, size))
    assert len(whole) == 101
    assert whole[5]["description"] == 'a "quoted"\nline, and another'


def test_a_bad_line_loses_no_other_row(tmp_path: Path) -> None:
    """A line that is too short and one that is not UTF-8 are set apart from their neighbours."""
    path = tmp_path / "in.csv"
    path.write_bytes(b"title,view_count\ngood,1\nshort\nbad \xff,2\n\nlast,3\n")
    table = opened_table(path)
    rows = [row for part in table.parts(2) for row in table.rows(part, ["title"])]
    assert rows == [
        {"title": "good"},
        Malformed("1 cells, but the header has 2"),
        Malformed("not UTF-8"),
        {"title": "last"},
    ]
    assert [type(row) for row in rows[1:3]] == [Malformed, Malformed]


def test_a_quote_that_is_never_closed_is_named(tmp_path: Path) -> None:
    """The file is refused with the byte offset, before any row is scored and before it is all in memory."""
    path = tmp_path / "in.csv"
    path.write_bytes(b'title\n"open' + b"x" * (17 * 1024 * 1024))
    with pytest.raises(JobError, match=r"in\.csv: before byte .* quote"):
        list(opened_table(path).parts(10))


def test_parts_of_parquet_files_are_their_rows(tmp_path: Path) -> None:
    """In the order of the files' names, over row groups; a part never spans two of them."""
    for name, first in (("b", 25), ("a", 0)):
        table = pa.table({"title": [f"t{number}" for number in range(first, first + 25)]})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=10)
    folder = opened_table(tmp_path)
    for size in (4, 7, 100):  # 7: a row group's second part does not begin at a multiple of the batch size
        parts = list(folder.parts(size))
        titles = [row["title"] for part in parts for row in folder.rows(part, ["title"])]
        assert titles == [f"t{number}" for number in range(50)]
        assert max(part.rows for part in parts) == min(size, 10)


def test_a_part_is_done_once_all_of_it_is_there(tmp_path: Path) -> None:
    """Rows of an interrupted run are kept, an incomplete line is not, and a commit is all or nothing."""
    results = Results(tmp_path, NO_COLUMNS)
    results.prepare()
    part = Part(3, 30, 3, "in.csv", 0, 0)
    with results.journal(part) as journal:
        journal.add(0, {"viral_score": 0.5})
        journal.add(2, {"reason": "no title"})
    path = next((tmp_path / "_journal").iterdir())
    path.write_bytes(path.read_bytes() + b'{"index": 1, "resu')
    assert results.journal(part).done() == {0: {"viral_score": 0.5}, 2: {"reason": "no title"}}
    with results.journal(part) as journal:
        journal.add(1, {"viral_score": 0.25})
    done = results.journal(part).done()
    assert not results.is_finished(part)
    assert results.commit(part, done) == 1
    assert results.finished() == {3}
    assert pq.read_table(tmp_path).select(["row", "viral_score"]).to_pylist() == [
        {"row": 30, "viral_score": 0.5},
        {"row": 31, "viral_score": 0.25},
    ]
    assert results.close() == (2, 1)


def job(source: Path, **changes: object) -> Job:
    """A job on `source`."""
    plain = Job(str(source), digest_of([source]), {"title": "title"}, [], 10, [], False, "")
    return Job(**(vars(plain) | changes))  # type: ignore[arg-type]


def test_jobs_are_never_mixed(tmp_path: Path) -> None:
    """The same job resumes where it stopped; another input, option or model is refused by name."""
    source, output = tmp_path / "in.csv", tmp_path / "out"
    source.write_text("title\nfirst\n")
    begun = job(source).begin(output)
    assert job(source).begin(output) == begun
    assert begun.observed_at
    with pytest.raises(JobError, match="part_rows was 10, now 11"):
        job(source, part_rows=11).begin(output)
    source.write_text("title\nother rows\n")
    with pytest.raises(JobError, match="digest was"):
        job(source).begin(output)
    results = Results(output, NO_COLUMNS)
    results.pin_model("one")
    with pytest.raises(JobError, match="started with model one, this is model another"):
        results.pin_model("another")


def test_a_folder_of_other_files_is_not_written_to(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("title\nfirst\n")
    with pytest.raises(JobError, match="contains no scoring job"):
        job(source).begin(tmp_path)


def test_columns_are_found_by_the_names_of_fields() -> None:
    """Aliases are known, unknown columns are ignored, and a wrong --map is refused."""
    columns = ["Headline", "scraped_at", "view_count", "color"]
    fields = fields_of(columns, ["title=Headline"], thumbnails=True)
    assert fields == {"title": "Headline", "scraped_at": "scraped_at", "view_count": "view_count"}
    for named in ([], ["title=Nothing"], ["nothing=Headline"], ["require=Headline"]):
        with pytest.raises(JobError, match="title"):
            fields_of(columns, named, thumbnails=True)


def test_unusable_thumbnails_are_counted_by_reason(tmp_path: Path) -> None:
    results = Results(tmp_path, NO_COLUMNS)
    results.prepare()
    images = ("used", "failed: http_403", "missing: no_thumbnail", "used: blank", "failed: http_403", "used")
    for part in (Part(number, 3 * number, 3, "in.csv", 0, 0) for number in range(2)):
        states = images[3 * part.number : 3 * part.number + 3]
        results.commit(part, {index: {"image": state} for index, state in enumerate(states)})
    assert results.unusable_images() == {"http_403": 2, "blank": 1}
