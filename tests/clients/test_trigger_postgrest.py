"""clients/trigger_inference.py with SUPABASE_URL, against the real PostgREST on a real PostgreSQL."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from deploy.demo.database import Database
from tests.clients.command import FAST, Trigger, ran
from tests.clients.door import Door, open_door, two_at_once
from tests.clients.scraped import scraped, with_nulls
from tests.support.postgres import Candidates, create_roles, separate
from tests.support.postgrest import postgrest, token
from tests.support.web import Reply

SCRIPT = "trigger_inference.py"
NEW_KEY = "sb_secret_abc"  # pragma: allowlist secret


@pytest.fixture(scope="module")
def rest(database: Database) -> Iterator[tuple[Candidates, Door]]:
    """The table in a database of its own with Supabase's two roles, and PostgREST under /rest/v1."""
    create_roles(database)
    table = Candidates(separate(database))
    table.create()
    table.run("ALTER TABLE candidates ENABLE ROW LEVEL SECURITY")
    table.run("GRANT SELECT, UPDATE ON candidates TO anon, service_role")
    table.run("GRANT INSERT ON writes TO service_role")
    table.create_owners()
    with postgrest(table.url) as url, open_door(url, strip="/rest/v1") as front:
        yield table, front


@pytest.fixture
def candidates(rest: tuple[Candidates, Door]) -> Candidates:
    rest[0].run("TRUNCATE candidates, writes")
    return rest[0]


@pytest.fixture
def supabase(rest: tuple[Candidates, Door]) -> Door:
    rest[1].calls.clear()
    rest[1].plan.clear()
    return rest[1]


@pytest.fixture
def trigger(supabase: Door, door: Door, tmp_path: Path) -> Trigger:
    """The command, by default with the service role's key, to its end."""
    settings = {"SUPABASE_URL": supabase.url, "SUPABASE_SERVICE_KEY": token("service_role")}
    return partial(ran, SCRIPT, *FAST, folder=tmp_path, INFERENCE_API_URL=door.url, **settings)


def test_22_rows_with_nulls_are_scored(trigger: Trigger, candidates: Candidates) -> None:
    candidates.add(with_nulls())
    done = trigger("--batch", "5")
    assert (done.returncode, "22 scored, 0 skipped" in done.stdout) == (0, True), done.stdout + done.stderr
    rows = candidates.rows()
    assert all(row["miles_score"] is not None and row["analyzed_at"] is not None for row in rows)
    assert candidates.written_more_than_once() == 0


def test_rows_that_cannot_be_scored_never_block_the_others(trigger: Trigger, candidates: Candidates) -> None:
    """Thirty older rows without a title do not keep `--limit 3` from scoring three that have one."""
    candidates.add([{**row, "title": None} for row in scraped(30)])
    candidates.add([{**row, "created_at": "2026-02-01T00:00:00Z"} for row in scraped(4)])
    done = trigger("--limit", "3")
    assert (done.returncode, "3 scored, 30 skipped" in done.stdout) == (1, True)


def test_two_runs_at_once_write_each_row_once(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    """Both ask for the same rows, and the slower one counts the written ones as scored by another run."""
    candidates.add(scraped(12))
    outputs = two_at_once(door, partial(trigger, "--batch", "4"))
    assert [run.returncode for run in outputs] == [0, 0]
    assert len(candidates.scored()) == 12
    assert candidates.written_more_than_once() == 0
    assert any("scored by another run" in run.stdout for run in outputs)


def test_a_dry_run_writes_nothing(trigger: Trigger, supabase: Door, candidates: Candidates) -> None:
    candidates.add(scraped(20))
    done = trigger("--dry-run", "--batch", "6")
    assert (done.returncode, done.stdout.count("would  ")) == (0, 20)
    assert candidates.scored() == []
    assert "PATCH" not in {call.method for call in supabase.calls}


def test_a_score_that_the_database_refuses_costs_its_own_row_alone(
    trigger: Trigger, candidates: Candidates
) -> None:
    """One of the owner's constraints and one trigger each fail one update; the others are written."""
    candidates.run(
        "ALTER TABLE candidates ADD CONSTRAINT odd CHECK (analyzed_at IS NULL OR view_count <> 2000)"
    )
    candidates.run(  # PostgREST answers it with 500
        "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.view_count = 3000 THEN RAISE 'not this one' USING ERRCODE = 'P0002'; END IF; "
        "RETURN NEW; END $$"
    )
    candidates.run("CREATE TRIGGER fail BEFORE UPDATE ON candidates FOR EACH ROW EXECUTE FUNCTION fail()")
    candidates.add(scraped(5))
    done = trigger()
    candidates.run("ALTER TABLE candidates DROP CONSTRAINT odd")
    candidates.run("DROP TRIGGER fail ON candidates")
    assert "3 scored, 2 skipped" in done.stdout
    assert "the database rejects it: 400" in done.stdout
    assert "the database rejects it: 500: not this one" in done.stdout


def test_an_error_of_the_table_ends_the_run(
    trigger: Trigger, supabase: Door, door: Door, candidates: Candidates
) -> None:
    """A score that no row can store is not tried for every row."""
    candidates.add(scraped(5))
    done = trigger("--column", "miles_score=title", "--batch", "1")
    assert (done.returncode, len(door.calls)) == (0, 5), "a text column takes the score as text"
    candidates.run("UPDATE candidates SET analyzed_at = NULL")
    body = b'{"code": "42703", "message": "no such column"}'
    supabase.plan += [None] * 4 + [Reply(400, body, {"Content-Type": "application/json"})]
    done = trigger("--batch", "1")
    assert (done.returncode, len(door.calls)) == (4, 6), done.stdout
    assert "400: no such column; expected the table in clients/database/schema.sql" in done.stdout


def test_the_public_key_is_refused_by_name(trigger: Trigger, supabase: Door) -> None:
    """Row-level security shows it an empty table, which would look like nothing to do."""
    done = trigger(SUPABASE_SERVICE_KEY=token("anon"))
    assert (done.returncode, supabase.calls) == (2, [])
    assert "public key" in done.stderr


def test_a_key_that_supabase_does_not_know_is_reported(trigger: Trigger) -> None:
    forged = token("service_role")[:-4] + "AAAA"
    done = trigger(SUPABASE_SERVICE_KEY=forged)
    assert done.returncode == 2
    assert "SUPABASE_SERVICE_KEY: 401" in done.stderr
    assert forged not in done.stdout + done.stderr


def test_a_key_of_the_new_kind_is_not_sent_as_a_bearer_token(trigger: Trigger, supabase: Door) -> None:
    """`sb_secret_...` is sent only as `apikey`: Supabase refuses it as a bearer token."""
    empty = {"Content-Range": "*/0", "Content-Type": "application/json"}
    supabase.plan += [Reply(200, b"[]", empty)] * 4  # snapshots, predictions, the count, the rows
    done = trigger(SUPABASE_SERVICE_KEY=NEW_KEY)
    assert (done.returncode, done.stderr) == (0, "")
    sent = supabase.calls[0].headers
    assert (sent["apikey"], "Authorization" in sent) == (NEW_KEY, False)


def test_an_address_of_something_else_is_one_line(trigger: Trigger, supabase: Door) -> None:
    """A page where rows are expected ends the run with the setting's name, and without a traceback."""
    supabase.plan += [Reply(200, b"<html>", {"Content-Type": "text/html"})] * 4
    done = trigger()
    assert (done.returncode, done.stderr) == (4, "")
    assert "SUPABASE_URL: 127.0.0.1 answered 200 without rows" in done.stdout


def test_a_table_of_that_name_with_other_columns_is_left_alone(
    trigger: Trigger, supabase: Door, candidates: Candidates
) -> None:
    """Where `snapshots` is another program's table, nothing is kept in it and the rows are scored."""
    candidates.add(scraped(1))
    other = Reply(200, b'[{"id": 1, "picture": "x"}]', {"Content-Type": "application/json"})
    supabase.plan += [other, other]
    done = trigger()
    assert done.returncode == 0, done.stderr
    assert len(candidates.scored()) == 1
    assert [call for call in supabase.calls if call.method == "POST"] == []


def test_a_database_that_is_away_for_a_moment_is_waited_for(
    trigger: Trigger, supabase: Door, candidates: Candidates
) -> None:
    candidates.add(scraped(1))
    supabase.plan.append(Reply(503, b'{"message": "no connection"}', {"Content-Type": "application/json"}))
    done = trigger()
    assert "for the database: SUPABASE_URL: 503: no connection" in done.stdout
    assert len(candidates.scored()) == 1


def test_rows_that_policies_keep_are_tried_once(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    """Rows that a PATCH did not change are checked again; the run says why and ends with exit code 4."""
    candidates.run(
        "INSERT INTO owner.candidates (video_id, title) "
        "SELECT 'v' || n, 'Video ' || n FROM generate_series(1, 5) n"
    )
    table = ("--table", "owner.candidates")
    done = trigger(*table, "--batch", "2", SUPABASE_SERVICE_KEY=token("reader"))
    assert done.returncode == 4, done.stdout + done.stderr
    assert done.stdout.count("the database keeps it unscored: row-level security or a trigger?") == 5
    assert "0 scored, 0 skipped, 5 kept unscored by the database" in done.stdout
    assert len(door.titles()) == len(set(door.titles())) == 5
    done = trigger(*table)
    assert (done.returncode, "5 scored, 0 skipped" in done.stdout) == (0, True), done.stdout + done.stderr
    candidates.run("TRUNCATE owner.candidates")


def test_columns_may_have_any_name(trigger: Trigger, candidates: Candidates) -> None:
    candidates.run('DROP TABLE IF EXISTS owner."My videos"')
    candidates.run(
        'CREATE TABLE owner."My videos" ("the id" text PRIMARY KEY, "Title (de)" text, "100%" bigint, '
        '"order" timestamptz DEFAULT now(), "select" timestamptz, "a""b" float8, "velo.city" float8)'
    )
    candidates.run('GRANT SELECT, UPDATE ON owner."My videos" TO service_role')
    candidates.run("NOTIFY pgrst, 'reload schema'")
    candidates.run("INSERT INTO owner.\"My videos\" VALUES ('a,\"b', 'one', 5), ('c.d', 'two', 7)")
    names = {"id": "the id", "title": "Title (de)", "view_count": "100%", "created_at": "order"}
    names |= {"analyzed_at": "select", "miles_score": 'a"b', "predicted_velocity": "velo.city"}
    columns = [f"--column={name}={column}" for name, column in names.items()]
    done = trigger("--table", "owner.My videos", *columns)
    assert (done.returncode, "2 scored, 0 skipped" in done.stdout) == (0, True), done.stdout + done.stderr
