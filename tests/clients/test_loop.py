"""clients/trigger_inference.py with the tables of clients/database/loop.sql: what it keeps for a score."""

import random
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from deploy.demo.database import Database
from miles_client.service import Score
from miles_client.table.kept import predictions_of, with_previous_looks
from tests.clients.command import FAST, Trigger, ran, running
from tests.clients.door import Call, Door, open_door
from tests.clients.scraped import scraped, with_nulls
from tests.support.postgres import Candidates, create_roles, separate
from tests.support.postgrest import postgrest, token
from tests.support.process import LIMIT_S
from tests.support.service import ROOT
from tests.support.web import Reply

SCRIPT = "trigger_inference.py"
LOOP = (ROOT / "clients" / "database" / "loop.sql").read_bytes()
WAYS = ("DATABASE_URL", "PostgREST")
TIMELESS = {"scraped_at": None, "created_at": None}


class Loop(Candidates):
    """The scraper's table with the tables of the loop, and the settings of both ways to reach it."""

    def __init__(self, url: str, front: Door) -> None:
        super().__init__(url)
        self.front = front
        self.settings: dict[str, dict[str, str]] = {
            "DATABASE_URL": {"DATABASE_URL": url},
            "PostgREST": {"SUPABASE_URL": front.url, "SUPABASE_SERVICE_KEY": token("service_role")},
        }

    def prepare(self, *, trigger: bool = True) -> None:
        """Empty all tables; without `trigger` only the step keeps snapshots."""
        self.run("TRUNCATE candidates, writes, snapshots, predictions")
        self.run(f"ALTER TABLE candidates {'ENABLE' if trigger else 'DISABLE'} TRIGGER keep_snapshot")  # type: ignore[arg-type]

    def kept(self, table: str) -> list[dict[str, Any]]:
        with self._connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            statement = f"SELECT * FROM {table} ORDER BY candidate_id"  # noqa: S608
            return cursor.execute(statement).fetchall()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def opened(database: Database) -> Iterator[Loop]:
    """A database for these tests, set up as on Supabase, behind PostgREST with small pages."""
    create_roles(database)
    table = Candidates(separate(database))
    table.create()
    for _ in range(2):  # the migration can be run again
        table.run(LOOP)  # type: ignore[arg-type]
    table.run("ALTER TABLE candidates ENABLE ROW LEVEL SECURITY")
    table.run("GRANT SELECT, UPDATE ON candidates TO anon, service_role")
    table.run("GRANT INSERT ON writes TO service_role")
    with postgrest(table.url, max_rows=3) as url, open_door(url, strip="/rest/v1") as front:
        yield Loop(table.url, front)


@pytest.fixture
def loop(opened: Loop) -> Loop:
    opened.prepare()
    return opened


@pytest.fixture
def trigger(loop: Loop, door: Door, tmp_path: Path) -> Trigger:
    """The command by one of the two ways, to its end."""

    def run(way: str, *words: str) -> CompletedProcess[str]:
        settings = loop.settings[way]
        return ran(SCRIPT, *FAST, *words, folder=tmp_path, INFERENCE_API_URL=door.url, **settings)

    return run


def videos_of(call: Call) -> list[dict[str, Any]]:
    videos: list[dict[str, Any]] = call.body.get("videos", [call.body])
    return videos


def test_a_score_is_kept_with_what_it_was_based_on(loop: Loop, trigger: Trigger, door: Door) -> None:
    """Either way: one prediction per row, with the answer's figures, and the counts that were scored."""
    failures = []
    for way in WAYS:
        loop.prepare(trigger=False)
        door.calls.clear()
        loop.add(with_nulls())
        done = trigger(way)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = {str(row["id"]): row for row in loop.rows()}
        kept, snapshots = loop.kept("predictions"), loop.kept("snapshots")
        asked = {video["title"]: video for call in door.calls for video in videos_of(call)}
        failures += [] if len(kept) == len(snapshots) == len(rows) else [f"{way}: {len(kept)} predictions"]
        for prediction, snapshot in zip(kept, snapshots, strict=False):
            row = rows[prediction["candidate_id"]]
            body = asked[row["title"]]
            answer = httpx.post(f"{door.upstream}/predict", json=body).json()
            image = answer["modalities"]["image"]
            interval = answer["velocity_interval"] or {"low": None, "high": None}
            expected = {
                "viral_score": row["miles_score"],
                "predicted_velocity": row["predicted_velocity"],
                "velocity_low": interval["low"],
                "model_version": answer["model_version"],
                "image": ": ".join(filter(None, [image["state"], image["reason"]])),
                "warnings": answer["warnings"],
                "shadow_of": None,
                "view_count": row["view_count"],
                "observed_at": row["scraped_at"] or row["created_at"],
            }
            found = {name: prediction[name] for name in expected}
            if row["scraped_at"] is None and row["created_at"] is None:
                continue  # scored as of now: the age differs from one request to the next
            unknown = set(answer["modalities"]["scalars"]["imputed"])
            if found != expected or unknown & set(prediction["known"]) or not prediction["request_id"]:
                odd = {name: (found[name], expected[name]) for name in found if found[name] != expected[name]}
                failures.append(f"{way}: {odd}, {prediction}")
            if (snapshot["taken_at"], snapshot["view_count"]) != (expected["observed_at"], row["view_count"]):
                failures.append(f"{way}: {snapshot}")
    assert failures == []


def test_the_previous_look_goes_into_the_next_request(loop: Loop, trigger: Trigger, door: Door) -> None:
    """The newest look that is 6 to 96 hours older, either way; without one the request has none."""
    loop.add(scraped(3))
    looks = {"2026-01-02T18:00:00Z": 5000, "2026-01-03T09:00:00Z": 7000, "2026-01-03T12:00:00Z": 9000}
    for moment, views in looks.items():
        loop.run(
            "UPDATE candidates SET view_count = %s, scraped_at = %s WHERE video_id <> 'v0000'",
            [views, moment],
        )
    failures = []
    for way in WAYS:
        loop.run("UPDATE candidates SET analyzed_at = NULL")
        door.calls.clear()
        assert trigger(way).returncode == 0
        sent = {
            video["title"]: (video.get("previous_view_count"), str(video.get("previous_observed_at"))[:16])
            for call in door.calls
            for video in call.body["videos"]
        }
        titles = [row["title"] for row in scraped(3)]
        newest = (5000, "2026-01-02T18:00")
        if sent != dict(zip(titles, [(None, "None"), newest, newest], strict=True)):
            failures.append((way, sent))
    assert failures == []
    known = [row["known"] for row in loop.kept("predictions")]
    assert sum({"previous_view_count", "previous_observed_at"} <= set(names) for names in known) == 2


NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)


def test_a_previous_look_that_the_service_would_refuse_is_left_out() -> None:
    """A premiere that was scraped days before it was shown, and a negative count."""
    published = {"early": NOON - timedelta(hours=30), "late": NOON - timedelta(hours=1), "odd": None}
    rows = [
        {"id": name, "scraped_at": NOON.isoformat(), "upload_date": moment and moment.isoformat()}
        for name, moment in published.items()
    ]
    taken = (NOON - timedelta(hours=48)).isoformat()
    looks = [
        {"candidate_id": name, "taken_at": taken, "view_count": views}
        for name, views in (("early", 5), ("late", 0), ("odd", -1))
    ]
    found = with_previous_looks(rows, lambda *_: looks)
    assert [row.get("previous_view_count") for row in found] == [5, None, None]


def test_the_same_look_has_the_same_id_however_the_database_writes_it() -> None:
    """Its time in another zone or as a number, its counts as text."""
    score = Score(0.5, 1.0, {"viral_score": 0.5, "predicted_velocity": 1.0, "model_version": "m"})
    times = ("2026-03-05T12:00:00+00:00", "2026-03-05T13:00:00+01:00", "2026-03-05T12:00:00")
    moments = (*times, int(NOON.timestamp()), 1000 * int(NOON.timestamp()))
    rows = [{"id": "1", "title": "x", "scraped_at": moment, "view_count": 1234} for moment in moments]
    rows.append(rows[0] | {"view_count": "1,234"})
    kept = [predictions_of(row, score)[0] for row in rows]
    assert len({prediction["id"] for prediction in kept}) == 1
    assert {(each["view_count"], each["observed_at"]) for each in kept} == {(1234, NOON.isoformat())}


def test_columns_of_other_types_are_refused_by_the_migration(loop: Loop) -> None:
    """Not by the trigger, at the scraper's next insert."""
    loop.run("CREATE SCHEMA other; SET search_path = other; CREATE TABLE candidates (LIKE public.candidates)")
    loop.run("ALTER TABLE other.candidates ALTER view_count TYPE text")
    with pytest.raises(psycopg.errors.DatatypeMismatch, match='"view_count" is of type bigint'):
        loop.run(b"SET search_path = other;" + LOOP)  # type: ignore[arg-type]
    loop.run("INSERT INTO other.candidates (id, view_count) VALUES (gen_random_uuid(), '1,234')")
    loop.run("DROP SCHEMA other CASCADE")


def test_scores_written_before_the_database_went_away_are_reported(loop: Loop, trigger: Trigger) -> None:
    """In the middle of a batch: each row once, and no more than --limit."""
    loop.prepare(trigger=False)
    loop.add(scraped(5))
    # Both tables, the count, the rows, their looks; the first's prediction, snapshot and score; the second's.
    loop.front.plan += [*[None] * 8, Reply(503, b"{}", {"Content-Type": "application/json"})]
    done = trigger("PostgREST", "--limit", "3")
    assert "3 scored, 0 skipped" in done.stdout, done.stdout
    assert (len(loop.scored()), loop.written_more_than_once()) == (3, 0)


def test_counts_that_are_scored_again_are_kept_once(loop: Loop, trigger: Trigger) -> None:
    """The same counts and the same model are the same prediction; changed counts are another one."""
    loop.add(scraped(4))
    for way in WAYS:
        loop.run("UPDATE candidates SET analyzed_at = NULL")
        assert trigger(way).returncode == 0
    assert len(loop.kept("predictions")) == 4
    loop.run(
        "UPDATE candidates SET view_count = 9, scraped_at = scraped_at + interval '1 day' WHERE id IN "
        "(SELECT id FROM candidates LIMIT 1)"
    )
    assert "1 scored" in trigger("DATABASE_URL", "--rescore-after", "0.0000001").stdout
    assert (len(loop.kept("predictions")), len(loop.kept("snapshots"))) == (5, 5)


def test_counts_of_an_unknown_time_are_kept_once(loop: Loop, trigger: Trigger) -> None:
    """The database goes away before the score is written: the next try finds the kept score and writes it."""
    loop.prepare(trigger=False)
    loop.add([scraped(1)[0] | TIMELESS])
    loop.front.calls.clear()
    # Both tables, the count, the row, the prediction and the snapshot; then the score.
    loop.front.plan += [*[None] * 6, Reply(503, b"{}", {"Content-Type": "application/json"})]
    assert "1 scored, 0 skipped" in trigger("PostgREST").stdout
    assert [call.method for call in loop.front.calls].count("PATCH") == 2
    (prediction,), (snapshot,), (row,) = loop.kept("predictions"), loop.kept("snapshots"), loop.rows()
    assert snapshot["taken_at"] == prediction["observed_at"]
    assert row["miles_score"] == prediction["viral_score"]


def test_what_the_step_keeps_is_not_a_change_of_counts(loop: Loop, trigger: Trigger) -> None:
    """Without the trigger the step's own snapshots do not make --rescore-after score a row again."""
    loop.prepare(trigger=False)
    loop.add(scraped(3))
    assert "3 scored" in trigger("DATABASE_URL").stdout
    assert "0 scored" in trigger("DATABASE_URL", "--rescore-after", "0.0000001").stdout


def test_a_look_without_a_change_is_kept_and_not_scored_again(loop: Loop, trigger: Trigger) -> None:
    """Unchanged counts are an outcome, but not a reason for another score."""
    loop.add(scraped(2))
    assert "2 scored" in trigger("DATABASE_URL").stdout
    loop.run("UPDATE candidates SET scraped_at = scraped_at + interval '1 day'")
    assert len(loop.kept("snapshots")) == 4
    assert "0 scored" in trigger("DATABASE_URL", "--rescore-after", "0.0000001").stdout


def test_a_prediction_that_the_database_rejects_costs_its_own_row(loop: Loop, trigger: Trigger) -> None:
    """The row keeps its nulls, and the others are scored, either way."""
    loop.run("ALTER TABLE predictions ADD CONSTRAINT odd CHECK (view_count <> 2000)")
    failures = []
    for way in WAYS:
        loop.prepare()
        loop.add(scraped(4))
        done = trigger(way)
        if "3 scored, 1 skipped" not in done.stdout or len(loop.kept("predictions")) != 3:
            failures.append((way, done.stdout))
    loop.run("ALTER TABLE predictions DROP CONSTRAINT odd")
    assert failures == []


def test_only_the_service_role_writes_what_is_kept(loop: Loop, trigger: Trigger) -> None:
    """Row-level security: the public role reads predictions and snapshots, and writes neither."""
    loop.add(scraped(1))
    trigger("DATABASE_URL")
    url = loop.settings["PostgREST"]["SUPABASE_URL"]
    headers = {"Authorization": f"Bearer {token('anon')}", "Prefer": "return=representation"}
    failures = []
    for table in ("predictions", "snapshots"):
        read = httpx.get(f"{url}/rest/v1/{table}", headers=headers)
        failures += [] if len(read.json()) == 1 else [(table, read.text)]
        for method in ("DELETE", "POST"):
            body = read.json()[0] if method == "POST" else None
            done = httpx.request(method, f"{url}/rest/v1/{table}?view_count=gt.0", headers=headers, json=body)
            failures += [(table, method, done.text)] if done.is_success and done.json() else []
        failures += [] if len(loop.kept(table)) == 1 else [f"{table} was changed"]
    assert failures == []


def _killed(loop: Loop, door: Door, folder: Path, way: str, kills: int, rows: int) -> list[str]:
    """What is wrong after a run was killed `kills` times and then finished."""
    draw = random.Random(18)  # noqa: S311  not a secret
    loop.prepare(trigger=False)
    loop.add([row | (TIMELESS if index % 4 == 1 else {}) for index, row in enumerate(scraped(rows))])
    settings = loop.settings[way] | {"INFERENCE_API_URL": door.url}
    words = (*FAST, "--batch", "3", "--limit", str(rows))
    wrong = []
    for _ in range(kills):
        with running(SCRIPT, *words, folder=folder, **settings) as process:
            assert process.stdout is not None, "started with a pipe"
            for _ in range(draw.randrange(8)):
                process.stdout.readline()
            time.sleep(draw.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT_S)
        kept = [row["candidate_id"] for row in loop.kept("predictions")]
        scored = {str(row["id"]) for row in loop.rows() if row["analyzed_at"]}
        wrong += [f"{way}: a score without its prediction"] if scored - set(kept) else []
        wrong += [f"{way}: kept twice"] if len(set(kept)) < len(kept) else []
    if ran(SCRIPT, *words, folder=folder, **settings).returncode:
        wrong.append(f"{way}: the last run does not finish")
    by_id = {row["candidate_id"]: row["viral_score"] for row in loop.kept("predictions")}
    if len(loop.kept("predictions")) != rows or len(loop.kept("snapshots")) != rows:
        wrong.append(f"{way}: {len(by_id)} predictions of {rows}")
    if {str(row["id"]): row["miles_score"] for row in loop.rows()} != by_id:
        wrong.append(f"{way}: the scores are not the predictions'")
    if loop.written_more_than_once():
        wrong.append(f"{way}: written twice")
    return wrong


def test_a_killed_step_keeps_each_score_once(loop: Loop, door: Door, tmp_path: Path) -> None:
    """Either way, no prediction is lost, kept twice, or different from the score that was written."""
    assert [wrong for way in WAYS for wrong in _killed(loop, door, tmp_path, way, 2, 24)] == []


@pytest.mark.hostile
def test_twenty_kills_lose_and_double_nothing(loop: Loop, door: Door, tmp_path: Path) -> None:
    """The same at twenty seeded moments."""
    assert [wrong for way in WAYS for wrong in _killed(loop, door, tmp_path, way, 20, 160)] == []
