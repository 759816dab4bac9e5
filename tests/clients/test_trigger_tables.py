"""clients/trigger_inference.py on other tables and roles: policies, triggers, ids, names, changed counts."""

from functools import partial
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg import sql

from deploy.demo.database import Database
from tests.clients.command import FAST, Trigger, ran, read_until, running
from tests.clients.door import Door
from tests.clients.scraped import scraped
from tests.support.postgres import Candidates, create_roles, separate
from tests.support.service import ROOT

SCRIPT = "trigger_inference.py"
KEPT = "the database keeps it unscored: row-level security or a trigger?"


@pytest.fixture(scope="module")
def url(database: Database) -> str:
    create_roles(database)
    return separate(database)


@pytest.fixture
def table(url: str) -> Candidates:
    """The scraper's table, empty, and the owner's."""
    table = Candidates(url)
    table.create()
    table.create_owners()
    return table


@pytest.fixture
def trigger(table: Candidates, door: Door, tmp_path: Path) -> Trigger:
    settings = {"DATABASE_URL": table.url, "INFERENCE_API_URL": door.url}
    return partial(ran, SCRIPT, *FAST, folder=tmp_path, **settings)


def test_rows_that_policies_keep_are_not_scored(table: Candidates, door: Door, trigger: Trigger) -> None:
    """Rows that a role may read but not lock are reported without a score."""
    table.run(
        "INSERT INTO owner.candidates (video_id, title) "
        "SELECT 'v' || n, 'Video ' || n FROM generate_series(1, 12) n"
    )
    address = "postgresql://reader:reader@" + table.url.partition("@")[2]  # pragma: allowlist secret
    done = trigger("--table", "owner.candidates", DATABASE_URL=address)
    assert (done.returncode, done.stdout.count(KEPT), door.calls) == (4, 12, []), done.stdout + done.stderr
    assert "12 kept unscored by the database" in done.stdout
    done = trigger("--table", "owner.candidates", DATABASE_URL=address.replace("reader:reader", "reader"))
    assert (done.returncode, "waiting" in done.stdout) == (4, False), "a role without its password"
    assert trigger("--table", "owner.candidates").returncode == 0


def test_rows_that_a_trigger_keeps_are_tried_once(table: Candidates, door: Door, trigger: Trigger) -> None:
    """Rows whose update a trigger cancels are checked again and reported; the other rows are scored."""
    table.add(scraped(9))
    table.run(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RETURN CASE WHEN NEW.view_count > 3000 THEN NULL ELSE NEW END; END $$"
    )
    table.run("CREATE TRIGGER refuse BEFORE UPDATE ON candidates FOR EACH ROW EXECUTE FUNCTION refuse()")
    done = trigger("--batch", "4")
    assert (done.returncode, done.stdout.count(KEPT)) == (4, 6), done.stdout + done.stderr
    assert "3 scored, 0 skipped, 6 kept unscored by the database" in done.stdout
    assert sorted(door.titles()) == sorted(row["title"] for row in scraped(9))


def test_a_row_that_a_trigger_leaves_due_is_scored_once(
    table: Candidates, door: Door, trigger: Trigger
) -> None:
    """A trigger that resets analyzed_at: the row would be found again and again."""
    table.add(scraped(3))
    table.run(
        "CREATE OR REPLACE FUNCTION reset() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.view_count = 1000 THEN NEW.analyzed_at = NULL; END IF; RETURN NEW; END $$"
    )
    table.run("CREATE TRIGGER reset BEFORE UPDATE ON candidates FOR EACH ROW EXECUTE FUNCTION reset()")
    done = trigger("--batch", "1")
    assert (done.returncode, done.stdout.count(KEPT), len(door.calls)) == (4, 1, 3), done.stdout
    assert "2 scored, 0 skipped, 1 kept unscored by the database" in done.stdout


def test_a_database_that_accepts_no_score_ends_the_run(
    table: Candidates, door: Door, trigger: Trigger
) -> None:
    """After `--limit` rows, none of which could be written."""
    table.add(scraped(20))
    table.run("CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END;'")
    table.run("CREATE TRIGGER no BEFORE UPDATE ON candidates FOR EACH ROW EXECUTE FUNCTION no()")
    assert trigger("--limit", "5").returncode == 4
    assert len(door.titles()) == 5


def test_watching_does_not_try_kept_rows_again(table: Candidates, door: Door, tmp_path: Path) -> None:
    table.add(scraped(2))
    table.run(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RETURN CASE WHEN NEW.view_count < 3000 THEN NULL ELSE NEW END; END $$"
    )
    table.run("CREATE TRIGGER refuse BEFORE UPDATE ON candidates FOR EACH ROW EXECUTE FUNCTION refuse()")
    settings = {"DATABASE_URL": table.url, "INFERENCE_API_URL": door.url}
    with running(SCRIPT, *FAST, "--watch", "0.1", folder=tmp_path, **settings) as process:
        read_until(process, "2 kept unscored by the database")
        read_until(process, "0 scored, 0 skipped; ")
        table.add([{**scraped(3)[2], "title": "later"}])
        read_until(process, "1 scored, 0 skipped")
    titles = door.titles()
    assert sorted(titles) == sorted([*(row["title"] for row in scraped(2)), "later"])


def test_ids_may_have_any_type_and_columns_any_name(table: Candidates, trigger: Trigger) -> None:
    failures = {}
    kinds: dict[LiteralString, LiteralString] = {
        "bigint": "1, 9007199254740993",
        "char(12)": "'a', 'b'",
        "numeric(30,2)": "12345678901234567890.10, 1",
        "timestamptz": "'2026-01-02', '2026-01-03'",
        "text": "'a \"b\", c', 'it''s'",
    }
    for kind, ids in kinds.items():
        table.run("DROP SCHEMA IF EXISTS odd CASCADE")
        table.run("CREATE SCHEMA odd")
        create: LiteralString = 'CREATE TABLE odd."Videos" (key {} PRIMARY KEY, headline text, plays bigint, '
        create += "seen timestamptz, at timestamptz DEFAULT now(), done_at timestamptz, "
        create += "score float8, velocity float8)"
        table.run(sql.SQL(create).format(sql.SQL(kind)))
        insert = "INSERT INTO odd.\"Videos\" SELECT unnest(ARRAY[{}]::{}[]), 'Video', 7"
        table.run(sql.SQL(insert).format(sql.SQL(ids), sql.SQL(kind)))
        names = {"id": "key", "title": "headline", "view_count": "plays", "scraped_at": "seen"}
        names |= {"created_at": "at", "analyzed_at": "done_at"}
        names |= {"miles_score": "score", "predicted_velocity": "velocity"}
        columns = [f"--column={name}={column}" for name, column in names.items()]
        done = trigger("--table", "odd.Videos", *columns)
        scored = table.run('SELECT count(score * velocity) FROM odd."Videos" WHERE done_at IS NOT NULL')
        if done.returncode or scored != [(2,)]:
            failures[kind] = done.stdout + done.stderr
    assert failures == {}


FAILING: dict[str, LiteralString] = {
    "a trigger that raises": (
        "CREATE FUNCTION owner.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.view_count = 2 THEN RAISE 'not this one' USING ERRCODE = 'MY001'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER fail BEFORE UPDATE ON owner.candidates FOR EACH ROW EXECUTE FUNCTION owner.fail()"
    ),
    "a constraint that is checked at the commit": (
        "CREATE FUNCTION owner.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.view_count = 2 THEN NEW.video_id = 'v1'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER fail BEFORE UPDATE ON owner.candidates FOR EACH ROW EXECUTE FUNCTION owner.fail();"
        "ALTER TABLE owner.candidates ADD UNIQUE (video_id) DEFERRABLE INITIALLY DEFERRED;"
        "ALTER TABLE owner.candidates DROP CONSTRAINT candidates_video_id_key"
    ),
    "a policy's check": (
        "CREATE POLICY partly ON owner.candidates FOR UPDATE USING (true) WITH CHECK (view_count <> 2)"
    ),
}


def test_an_error_of_one_row_costs_that_row(table: Candidates, trigger: Trigger) -> None:
    """Whatever raises it, the others are written, and the database's message is reported."""
    failures = {}
    reader = "postgresql://reader:reader@" + table.url.partition("@")[2]  # pragma: allowlist secret
    for name, statement in FAILING.items():
        table.create_owners()
        table.run(
            "INSERT INTO owner.candidates (video_id, title, view_count) "
            "SELECT 'v' || n, 'Video ' || n, n FROM generate_series(1, 3) n"
        )
        table.run(statement)
        done = trigger("--table", "owner.candidates", DATABASE_URL=reader if "policy" in name else table.url)
        if (
            done.returncode != 1
            or "2 scored, 1 skipped" not in done.stdout
            or "rejects it" not in done.stdout
        ):
            failures[name] = done.stdout + done.stderr
    assert failures == {}


def test_ids_must_identify_each_row(table: Candidates, door: Door, trigger: Trigger) -> None:
    """Two rows with one id would get the same score, and a row without an id none: nothing is scored."""
    table.add([{**row, "video_id": "the same"} for row in scraped(2)])
    failures = []
    for value, said in (("the same", "is the same in two rows"), (None, "is null in a row")):
        table.run("UPDATE candidates SET video_id = %s", [value])
        table.run("UPDATE candidates SET analyzed_at = now() WHERE view_count > 1000")
        done = trigger("--column", "id=video_id")
        if done.returncode != 4 or f"candidates.video_id {said}; add --column id=COLUMN" not in done.stdout:
            failures.append((value, done.stdout + done.stderr))
    assert (failures, door.calls) == ([], [])


def test_columns_that_are_not_there_are_named(table: Candidates, door: Door, trigger: Trigger) -> None:
    """Optional ones once; without a title, or with views under another name, nothing is scored."""
    table.add(scraped(1))
    table.run("ALTER TABLE candidates DROP like_count, DROP description")
    assert (
        "no column for description, like_count: unknown (--column NAME=COLUMN)\n"
        in trigger("--dry-run").stdout
    )
    table.run("ALTER TABLE candidates RENAME view_count TO views")
    door.calls.clear()
    assert "add --column view_count=views, or --column view_count= to score without" in trigger().stdout
    assert door.calls == []
    assert "1 would be scored" in trigger("--dry-run", "--column", "view_count=").stdout
    table.run("ALTER TABLE candidates RENAME title TO headline")
    assert "has no column title; add --column title=headline" in trigger("--column", "view_count=").stdout


def test_a_query_that_takes_too_long_has_a_next_step(table: Candidates, trigger: Trigger) -> None:
    """A query that a role's statement_timeout cancels, as on Supabase."""
    table.add(scraped(1))
    table.run("CREATE VIEW slow AS SELECT * FROM candidates WHERE pg_sleep(60) IS NOT NULL")
    done = trigger("--table", "slow", DATABASE_URL=f"{table.url}?options=-cstatement_timeout%3D50")
    table.run("DROP VIEW slow")
    assert (done.returncode, "waiting" in done.stdout) == (4, True), done.stdout + done.stderr
    assert "statement timeout; add the index in clients/database/schema.sql" in done.stdout


def test_a_name_that_is_not_there_says_how_to_map_it(table: Candidates, trigger: Trigger) -> None:
    table.add(scraped(1))
    for words, code, said in (
        (["--column", "id=number"], 4, "--column id=COLUMN"),
        (["--column", "miles_score=score"], 4, "--table and --column"),
        (["--column", "like_count=likes"], 4, "candidates has no column likes"),
        (["--column", "views=plays"], 2, "a NAME of id, title"),
    ):
        done = trigger(*words)
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def test_rows_whose_counts_have_changed_are_scored_again(table: Candidates, trigger: Trigger) -> None:
    """The trigger of clients/database/loop.sql keeps every change of counts; other rows keep their scores."""
    snapshots = (ROOT / "clients" / "database" / "loop.sql").read_text(encoding="utf-8")
    for _ in range(2):
        table.run(snapshots)  # type: ignore[arg-type]
    table.add(scraped(6))
    assert "6 scored" in trigger().stdout
    before = {row["title"]: row["miles_score"] for row in table.rows()}
    table.run("UPDATE candidates SET view_count = 40 * view_count WHERE view_count IN (2000, 4000)")
    table.run("UPDATE candidates SET view_count = view_count, platform = 'other'")
    assert "0 scored" in trigger().stdout
    assert "0 scored" in trigger("--rescore-after", "24").stdout
    done = trigger("--rescore-after", "0.0000001")
    assert "2 scored" in done.stdout, done.stdout + done.stderr
    changed = [row["title"] for row in table.rows() if row["miles_score"] != before[row["title"]]]
    assert changed == [scraped(6)[1]["title"], scraped(6)[3]["title"]]
    assert table.run("SELECT count(*) FROM snapshots") == [(8,)]
    table.run("DROP TABLE snapshots CASCADE")


def test_rows_scored_with_warnings_are_counted(table: Candidates, trigger: Trigger) -> None:
    table.add([*scraped(2), {**scraped(1)[0], "view_count": None}])
    assert "3 scored, 0 skipped, " in (said := trigger().stdout)
    assert " with warnings; " in said
