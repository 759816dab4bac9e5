"""`./miles score-dataset` from a real PostgreSQL and back into it."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from deploy.demo.database import Database
from deploy.score_dataset.__main__ import main
from deploy.score_dataset.job import JobError
from deploy.score_dataset.postgres import Address, PostgresTable, TableOut
from deploy.score_dataset.sources import opened_table
from miles_client.service import Score
from miles_client.table.kept import predictions_of
from tests.scale.dataset import finish, start
from tests.scale.ray_here import needs_ray
from tests.support.postgres import Candidates, separate
from tests.support.service import ROOT

ROWS = 7


@pytest.fixture(scope="module")
def candidates(database: Database) -> Candidates:
    """The scraper's table with a few rows, one of which cannot be scored."""
    table = Candidates(separate(database))
    table.create()
    titles = ["", *(f"I tried {n} pasta hacks!" for n in range(1, ROWS))]
    table.add(
        [{"title": title, "view_count": n * 10, "tags": ["food", "fun"]} for n, title in enumerate(titles)]
    )
    return table


def address_of(url: str, monkeypatch: pytest.MonkeyPatch) -> Address:
    """Without the password, which libpq finds by itself."""
    known = conninfo_to_dict(url)
    monkeypatch.setenv("PGPASSWORD", str(known["password"]))
    found = Address.of(f"postgresql://{known['user']}@{known['host']}:{known['port']}/{known['dbname']}")
    assert found is not None
    return found


@pytest.fixture
def address(candidates: Candidates, monkeypatch: pytest.MonkeyPatch) -> Address:
    """The database's."""
    return address_of(candidates.url, monkeypatch)


@pytest.fixture
def loop_tables(candidates: Candidates) -> Iterator[None]:
    """The tables of predictions and counts, empty."""
    candidates.run((ROOT / "clients" / "database" / "loop.sql").read_bytes())  # type: ignore[arg-type]
    yield
    candidates.run("DROP TABLE predictions, snapshots CASCADE")
    candidates.run("DROP FUNCTION keep_snapshot CASCADE")


def opened(address: Address, **asked: str) -> PostgresTable:
    return PostgresTable(address, **{"table": None, "query": None, "key": None, **asked})  # type: ignore[arg-type]


def test_parts_of_a_table_are_its_rows_by_key(address: Address, candidates: Candidates) -> None:
    """Whatever the size of a part, of a table and of a query."""
    ids = sorted(str(row["id"]) for row in candidates.rows())
    query = "SELECT id, title FROM candidates;"
    for table in (opened(address, table="candidates"), opened(address, query=query, key="id")):
        for size in (1, 3, 100):
            parts = list(table.parts(size))
            rows = [row for part in parts for row in table.rows(part, ["id", "title"])]
            assert [row["id"] for row in rows if isinstance(row, dict)] == ids
            assert [part.first_row for part in parts] == list(range(0, ROWS, size))
    assert opened(address, table="candidates").digest == opened(address, query=query, key="id").digest


def test_a_table_that_changed_meanwhile_is_refused(address: Address, candidates: Candidates) -> None:
    """A part that has grown is refused, and the table counts as another input."""
    table = opened(address, table="candidates")
    (part,), digest = table.parts(100), table.digest
    middle = sorted(str(row["id"]) for row in candidates.rows())[3]
    new = middle[:-4] + ("0000" if middle[-4:] != "0000" else "0001")
    candidates.add([{"id": new, "title": "new"}])
    try:
        with pytest.raises(JobError, match=f"has {ROWS + 1} rows, but had {ROWS}"):
            list(table.rows(part, ["id"]))
        assert table.digest != digest
    finally:
        candidates.run("DELETE FROM candidates WHERE id = %s", [new])


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({}, "--table NAME or --query"),
        ({"query": "SELECT 1 AS id"}, "--key"),
        ({"table": "candidates", "key": "nothing"}, "no column 'nothing'"),
        ({"table": "candidates", "key": "platform"}, "name another --key"),
        ({"table": "no_table"}, "no_table"),
        ({"query": "DELETE FROM candidates RETURNING id", "key": "id"}, "syntax error"),
    ],
)
def test_what_cannot_be_read_is_named(address: Address, asked: dict[str, str], reason: str) -> None:
    with pytest.raises(JobError, match=reason):
        list(opened(address, **asked).parts(10))


def test_a_part_is_written_whole_and_may_be_written_again(address: Address, candidates: Candidates) -> None:
    """Existing rows are replaced; if one row of a part is bad, none is written."""
    table = TableOut(address, "some_scores", "id", {"id": "int8", "viral_score": "double precision"})
    table.prepare()
    table.prepare()
    for _ in range(2):
        table.write([{"id": 1, "viral_score": 0.5}, {"id": 2, "viral_score": 0.25}])
    with pytest.raises(JobError, match="null value"):
        table.write([{"id": 3, "viral_score": 0.75}, {"id": None, "viral_score": 0.75}])
    table.write([{"id": 2, "viral_score": 0.125}])
    assert candidates.run("SELECT id, viral_score FROM some_scores ORDER BY id") == [(1, 0.5), (2, 0.125)]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [("b,c,b", "id is 'b' in 2 rows"), ("b,,c", "id is empty in 1 rows"), ("a,b,c", None)],
)
def test_of_two_rows_with_one_key_neither_is_lost(
    tmp_path: Path, address: Address, cells: str, reason: str | None
) -> None:
    """A file with such rows is refused by the key, before any row is scored."""
    path = tmp_path / "in.csv"
    path.write_text("id,title\n" + "".join(f"{key},t\n" for key in cells.split(",")), encoding="utf-8")
    table = TableOut(address, "some_scores", "id", {"id": "text"})
    with pytest.raises(JobError, match=reason) if reason else nullcontext():
        table.check_keys(opened_table(path))


@needs_ray
@pytest.mark.parametrize("url", ["postgresql://me:hunter22@db/app", "postgres://db/app?password=hunter22"])
def test_a_password_on_the_command_line_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for text in (url, url + "?%zz=hunter22"):
        assert main([text, "out", "--table", "candidates"]) == 2
        err = capsys.readouterr().err
        assert err.startswith("postgresql://...: ")
        assert "hunter22" not in err


@pytest.mark.scale
@needs_ray
@pytest.mark.usefixtures("loop_tables")
def test_scores_go_back_into_the_database_once(
    tmp_path: Path, model: Path, address: Address, candidates: Candidates
) -> None:
    """Each valid row once; a second run adds nothing, and no password is written down."""
    state = tmp_path / "state"
    url = address.url
    options = ("--table", "candidates", "--table-out", "scores", "--state", str(state), "--part-rows", "4")
    options += ("--workers", "1", "--threads", "1")
    secret = os.environ["PGPASSWORD"]
    for now in (ROWS, 0):
        code, account = finish(start(url, url, model, *options))
        assert (code, account["scored_now"], account["rejected"]) == (1, now, 1)
        rows = candidates.run("SELECT s.id, viral_score FROM scores s JOIN candidates c ON c.id = s.id")
        assert len({key for key, _ in rows}) == len(rows) == ROWS - 1
        assert all(0 <= score <= 1 for _, score in rows)
        kept = candidates.run("SELECT count(*), count(DISTINCT candidate_id) FROM predictions")
        assert kept == [(ROWS - 1, ROWS - 1)]
    written = [path.read_bytes() for path in state.rglob("*") if path.is_file()]
    assert written
    assert not any(secret.encode() in content for content in written)


@pytest.mark.usefixtures("loop_tables")
def test_scores_are_kept_beside_their_counts(address: Address, candidates: Candidates) -> None:
    """In the loop's tables each row of a part is kept once, as the scraper's step keeps it."""
    table = TableOut(address, "kept_scores", "id", {"id": "text", "viral_score": "double precision"})
    table.prepare()
    look = {
        "observed_at": "2026-01-02T12:00:00+00:00",
        "view_count": 9,
        "like_count": 2,
        "comment_count": None,
    }
    answer = {"viral_score": 0.5, "predicted_velocity": 7.0, "velocity_low": 1.0, "velocity_high": 9.0}
    answer |= {"model_version": "miles", "image": "used", "warnings": ["one"]}
    row = {"id": "a", **answer, "look": {**look, "known": ["title"]}}
    for _ in range(2):
        table.write([row])
    (found,) = candidates.run("SELECT id::text, candidate_id, view_count, known, warnings FROM predictions")
    scraped = {"id": "a", "scraped_at": look["observed_at"], "view_count": 9, "like_count": 2}
    (step,) = predictions_of(scraped, Score(0.5, 7.0, answer))
    assert found == (step["id"], "a", 9, ["title"], ["one"])
    assert candidates.run("SELECT candidate_id, view_count, comment_count FROM snapshots") == [("a", 9, None)]
