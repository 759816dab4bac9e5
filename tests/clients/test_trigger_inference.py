"""clients/trigger_inference.py against a real PostgreSQL and a real service."""

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import Popen

import httpx
import pytest

from deploy.demo.database import Database
from miles_client.table.postgres import without_foreign_options
from tests.clients.command import FAST, Running, Trigger, command, environment, read_until
from tests.clients.door import Door, Hold, two_at_once
from tests.clients.scraped import scraped, with_nulls
from tests.support.postgres import Candidates
from tests.support.process import LIMIT_S, completed
from tests.support.service import Service
from tests.support.web import Reply

SCRIPT = "trigger_inference.py"
ODD_URL = "postgresql://me:hush@host?prot=1"  # pragma: allowlist secret


def test_22_rows_with_nulls_get_the_services_own_scores(
    trigger: Trigger, candidates: Candidates, service: Service
) -> None:
    """Whatever is null, each row has the score and velocity that /predict gives, and when it was scored."""
    candidates.add(with_nulls())
    done = trigger()
    assert (done.returncode, done.stdout.count("scored  ")) == (0, 22), done.stdout + done.stderr
    assert "22 scored, 0 skipped" in done.stdout
    for row in json.loads(json.dumps(candidates.rows(), default=str)):
        sent = {name: row[name] for name in SENT} | {"observed_at": row["scraped_at"] or row["created_at"]}
        answer = httpx.post(f"{service.url}/predict", json=sent).json()
        expected = (answer["viral_score"], answer["predicted_velocity"])
        if sent["observed_at"] is None:  # the row does not say when its counts were read, so it is now
            expected = (pytest.approx(expected[0], abs=1e-3), pytest.approx(expected[1], rel=1e-2))
        assert (row["miles_score"], row["predicted_velocity"]) == expected
        assert row["analyzed_at"] is not None


SENT = (
    *("title", "description", "view_count", "like_count", "comment_count"),
    *("duration_seconds", "upload_date"),
)


def test_a_row_without_title_is_named_with_its_reason_and_left(
    trigger: Trigger, candidates: Candidates
) -> None:
    candidates.add([{**row, "title": None} if index == 4 else row for index, row in enumerate(scraped(9))])
    done = trigger()
    assert done.returncode == 1
    assert "8 scored, 1 skipped" in done.stdout
    (left,) = [row for row in candidates.rows() if row["analyzed_at"] is None]
    assert (left["miles_score"], left["predicted_velocity"]) == (None, None)
    assert f"skipped {left['id']}  422: title: is required" in done.stdout


def test_rows_without_a_usable_thumbnail_are_counted_by_reason(
    trigger: Trigger, candidates: Candidates
) -> None:
    """Their scores are still written; a row that has no thumbnail is not counted."""
    urls = ["http://10.0.0.1/a.jpg", "ftp://a.example/a.jpg", "/images/a.jpg", None]
    candidates.add([{**row, "thumbnail_url": url} for row, url in zip(scraped(4), urls, strict=True)])
    done = trigger()
    assert (done.returncode, len(candidates.scored())) == (0, 4)
    assert "3 without a usable thumbnail (2 forbidden, 1 bad_url)" in done.stdout
    assert done.stdout.count("[thumbnail: forbidden]") == 2


def test_rows_that_cannot_be_scored_never_block_the_others(trigger: Trigger, candidates: Candidates) -> None:
    """Sixty older rows without a title do not keep `--limit 3` from scoring three that have one."""
    candidates.add([{**row, "title": None} for row in scraped(60)])
    candidates.add([{**row, "created_at": "2026-02-01T00:00:00Z"} for row in scraped(4)])
    assert "3 scored, 60 skipped" in trigger("--limit", "3").stdout
    assert len(candidates.scored()) == 3


def test_a_value_that_json_or_python_cannot_hold_costs_its_own_row_alone(
    trigger: Trigger, candidates: Candidates
) -> None:
    """A date of `infinity` is refused by the service; the query and the other rows are unaffected."""
    candidates.add([{**scraped(1)[0], "upload_date": "infinity"}, *scraped(3)])
    done = trigger()
    assert "3 scored, 1 skipped" in done.stdout
    assert "422: published_at" in done.stdout


def test_a_score_that_the_database_refuses_costs_its_own_row_alone(
    trigger: Trigger, candidates: Candidates
) -> None:
    """One of the owner's constraints fails one update; the others of the same call are written."""
    candidates.run("ALTER TABLE candidates ADD CHECK (miles_score IS NULL OR view_count <> 2000)")
    candidates.add(scraped(5))
    done = trigger()
    assert "4 scored, 1 skipped" in done.stdout
    assert "the database rejects it" in done.stdout


def test_two_runs_at_once_score_each_row_once(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    """While both wait for the service, each with its own rows, none is requested or written twice."""
    candidates.add(scraped(22))
    outputs = two_at_once(door, partial(trigger, "--batch", "4"))
    assert [run.returncode for run in outputs] == [0, 0]
    assert len(candidates.scored()) == 22
    assert sorted(door.titles()) == sorted(row["title"] for row in scraped(22))
    assert candidates.written_more_than_once() == 0
    assert all(run.stdout.count("scored  ") >= 4 for run in outputs)


def test_kill_9_half_way_loses_nothing(
    trigger: Trigger, begun: Callable[..., Running], door: Door, candidates: Candidates
) -> None:
    """Rows in flight are unchanged and unlocked at once, and the next run scores them."""
    candidates.add(scraped(22))
    hold = Hold()
    door.plan += [None, None, hold]
    with begun("--batch", "4") as process:
        assert hold.reached.wait(LIMIT_S)
        process.send_signal(signal.SIGKILL)
        assert process.wait(LIMIT_S) == -signal.SIGKILL
    hold.release.set()
    assert len(candidates.scored()) == 8
    done = trigger()
    assert (done.returncode, "14 scored, 0 skipped" in done.stdout) == (0, True)
    assert len(candidates.scored()) == 22
    assert candidates.written_more_than_once() == 0


def test_the_address_may_name_the_route_or_not(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    """INFERENCE_API_URL with and without /predict is the same service."""
    ends = ("", "/", "/predict", "/predict/", "/predict/batch")
    for end in ends:
        candidates.add(scraped(2))
        assert trigger(INFERENCE_API_URL=door.url + end).returncode == 0
    assert door.paths() == ["/predict/batch"] * len(ends)


def test_limit_is_the_most_rows_of_a_run(trigger: Trigger, candidates: Candidates) -> None:
    candidates.add(scraped(60))
    assert "5 scored" in trigger("--limit", "5").stdout
    assert candidates.scored() == [row["title"] for row in scraped(5)]
    assert "50 scored" in trigger().stdout


def test_a_dry_run_prints_scores_and_writes_nothing(trigger: Trigger, candidates: Candidates) -> None:
    """It prints what the next run then writes."""
    candidates.add(scraped(20))
    dry = trigger("--dry-run")
    assert "20 would be scored" in dry.stdout
    assert candidates.scored() == []
    wet = trigger().stdout
    told, written = [[line.split()[1:3] for line in out.splitlines()[:20]] for out in (dry.stdout, wet)]
    assert told == written


def test_settings_are_read_from_a_file(
    trigger: Trigger, door: Door, candidates: Candidates, tmp_path: Path
) -> None:
    """`.env` in the working folder supplies variables that are absent or empty in the environment."""
    candidates.add(scraped(2))
    (tmp_path / ".env").write_text(
        f'# ours\nexport INFERENCE_API_URL="{door.url}/predict"\nMILES_API_KEY=from-a-file # secret\n'
    )
    assert trigger(INFERENCE_API_URL="").returncode == 0
    assert door.calls[0].headers["Authorization"] == "Bearer from-a-file"


WRONG_SETTINGS = [
    ({"INFERENCE_API_URL": ""}, "INFERENCE_API_URL"),
    ({"INFERENCE_API_URL": "localhost:7860"}, "not an http or https URL"),
    ({"INFERENCE_API_URL": "https://huggingface.co/spaces/me/miles"}, "hf.space"),
    ({"DATABASE_URL": ""}, "set DATABASE_URL"),
    ({"DATABASE_URL": ODD_URL}, "not a PostgreSQL URL"),
    ({"DATABASE_URL": "", "SUPABASE_URL": "x", "SUPABASE_SERVICE_KEY": "y"}, "SUPABASE_URL"),
]


def test_a_wrong_setting_is_one_line(trigger: Trigger) -> None:
    failures = []
    for values, said in WRONG_SETTINGS:
        done = trigger(**values)
        if done.returncode != 2 or said not in done.stderr or len(done.stderr.splitlines()) != 1:
            failures.append(f"{values}: {done.returncode} {done.stderr}")
        assert "hush" not in done.stdout + done.stderr
    assert failures == []


def test_a_key_that_the_service_does_not_know_is_reported(
    trigger: Trigger, door: Door, candidates: Candidates
) -> None:
    candidates.add(scraped(1))
    door.plan += [Reply(401, b'{"detail": "no"}', {"Content-Type": "application/problem+json"})]
    done = trigger()
    assert (done.returncode, len(door.calls)) == (2, 1)
    assert "MILES_API_KEY" in done.stderr


def test_a_database_without_the_table_is_reported(trigger: Trigger, candidates: Candidates) -> None:
    candidates.run("DROP TABLE candidates")
    done = trigger()
    assert done.returncode == 4
    assert "clients/database/schema.sql" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_wrong_password_is_not_tried_again(trigger: Trigger, candidates: Candidates) -> None:
    user, _, rest = candidates.url.removeprefix("postgresql://").partition("@")
    done = trigger(DATABASE_URL=f"postgresql://{user.partition(':')[0]}:wrong@{rest}")
    assert (done.returncode, "waiting" in done.stdout) == (4, False)
    assert "authentication failed" in done.stdout


def test_an_output_that_cannot_be_written_ends_in_no_traceback(
    door: Door, candidates: Candidates, tmp_path: Path
) -> None:
    """Closed, full, or in an encoding that lacks a title's characters: what is scored is committed."""
    cases = {
        "exec >&- 2>&-": (0, "", 2),
        "exec >&-": (0, "", 2),
        "exec >/dev/full": (1, "trigger_inference: its output cannot be written: No space left on device", 1),
        "exec >/dev/full 2>&1": (1, "", 1),
        "PYTHONIOENCODING=ascii": (0, "", 2),
        "PYTHONIOENCODING=cp1252": (0, "", 2),
    }
    settings = {"DATABASE_URL": candidates.url, "INFERENCE_API_URL": door.url}
    failures = []
    for setup, expected in cases.items():
        candidates.create()
        candidates.add([row | {"title": f"🔥 {row['title']}"} for row in scraped(2)])
        line = f'{setup}\nexport PYTHONIOENCODING\nexec "$@"'
        words = ["sh", "-c", line, "sh", *command(SCRIPT, *FAST, "--batch", "1")]
        done = completed(words, cwd=tmp_path, env=environment(settings))
        found = (done.returncode, done.stderr.strip(), len(candidates.scored()))
        failures += [] if found == expected else [(setup, found)]
    assert failures == []


def test_a_database_without_an_encoding_takes_scores(trigger: Trigger, database: Database) -> None:
    """SQL_ASCII, which initdb chooses without a locale: its ids are still text."""
    table = Candidates(database.url.removesuffix("postgres") + "plain")
    Candidates(database.url).run(
        "CREATE DATABASE plain ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    table.create()
    table.add([scraped(1)[0] | {"title": "Été 🔥"}])
    done = trigger(DATABASE_URL=table.url)
    assert (done.returncode, "1 scored, 0 skipped" in done.stdout) == (0, True), done.stdout + done.stderr


def test_an_address_may_be_another_drivers() -> None:
    """Options that libpq lacks are left out; its other form stays as it is."""
    forms = {
        "postgresql+psycopg://u:p@h/d?pgbouncer=true&sslmode=require": "postgresql://u:p@h/d?sslmode=require",
        "postgres://u:p@h/d?sslmode=require&schema=public": "postgres://u:p@h/d?sslmode=require",
        "postgres://u:p%2B@h/d?pgbouncer=true&connection_limit=1": "postgres://u:p%2B@h/d",
        "host=h password=a+b?schema=c& dbname=d": "host=h password=a+b?schema=c& dbname=d",
    }
    assert {form: without_foreign_options(form) for form in forms} == forms


def test_a_signal_ends_it_between_two_writes(
    begun: Callable[..., Running], door: Door, candidates: Candidates
) -> None:
    """In the middle of a call: scored rows stay scored, requested ones are unlocked, a summary is printed."""
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        candidates.create()
        candidates.add(scraped(12))
        hold = Hold()
        door.plan += [None, hold]
        with begun("--batch", "4") as process:
            assert hold.reached.wait(LIMIT_S)
            process.send_signal(number)
            assert "4 scored" in read_until(process, " skipped")
            assert ended(process) == (code, "")
        hold.release.set()
        assert len(candidates.scored()) == 4
        assert len(candidates.run("SELECT id FROM candidates FOR UPDATE SKIP LOCKED")) == 12


def ended(process: Popen[str]) -> tuple[int, str]:
    """The exit code, and the rest of its output."""
    assert process.stdout is not None, "started with a pipe"
    return process.wait(LIMIT_S), process.stdout.read()


def test_watch_finds_rows_that_come_later(begun: Callable[..., Running], candidates: Candidates) -> None:
    candidates.add([{"title": None}, *scraped(1)])
    with begun("--watch", "0.1") as process:
        read_until(process, "1 scored, 1 skipped")
        candidates.add([{**scraped(1)[0], "title": "later"}])
        seen = read_until(process, "later") + read_until(process, "1 scored, 1 skipped")
        assert "is required" not in seen
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 143
    assert len(candidates.scored()) == 2
