"""What became of predictions: which are judged, their figures, shadows, and the command."""

import json
import math
import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sklearn.metrics import roc_auc_score

from deploy.demo.database import Database
from tests.support.process import LIMIT_S, PLAIN, answers, completed, free_port, started, until
from tests.support.service import ROOT
from tests.training.outcomes.kept import KNOWN, OTHER, VERSION, Kept, Loop, drawn
from training.commands import main
from training.data.database import DatabaseError, reading
from training.outcomes.judge import MIN_ROWS, Outcomes, judge
from training.outcomes.looks import Looked, looks

VIRAL = 1000.0
COMMAND = (sys.executable, "-m", "training.outcomes")
PREVIOUS = (*KNOWN, "previous_view_count", "previous_observed_at")

# Later looks as (hours, views), the prediction's other values, its state, and the actual views per day.
STATES: list[tuple[Sequence[tuple[float, int]], dict[str, object], str, float | None]] = [
    ([(24, 1500)], {}, "judged", 500.0),
    ([(12, 1500)], {}, "judged", 1000.0),
    ([(72, 1300)], {}, "judged", 100.0),
    ([(11.9, 1100), (48, 3000)], {}, "judged", 1000.0),
    ([(24, 1500), (48, 9000)], {}, "judged", 500.0),
    ([(24, 1000)], {}, "judged", 0.0),
    ([(24, 1500)], {"days_ago": 2}, "judged", 500.0),
    ([(11.9, 1100), (72.1, 3000)], {}, "not seen again", None),
    ([(-24, 900)], {}, "not seen again", None),
    ([], {}, "not seen again", None),
    ([], {"days_ago": 2.9}, "too young", None),
    ([(6, 1500)], {"days_ago": 1}, "too young", None),
    ([(24, 999)], {}, "count fell", None),
    ([(6, 1000), (30, 1500)], {"views": None}, "judged", 500.0),
    ([(13, 1000), (30, 1500)], {"views": None}, "no view count", None),
    ([], {"views": None, "days_ago": 1}, "too young", None),
]


@pytest.fixture(scope="module")
def loop(database: Database) -> Loop:
    return Loop.on(database)


def found_in(loop: Loop, rows: Sequence[Kept], days: float | None = None) -> list[Looked]:
    loop.run("TRUNCATE predictions, snapshots")
    loop.keep(rows)
    with reading(loop.url) as connection:
        return looks(connection, days)


def judged(loop: Loop, rows: Sequence[Kept]) -> Outcomes:
    return judge(found_in(loop, rows), VIRAL)


def test_an_outcome_is_the_growth_to_the_next_look(loop: Loop) -> None:
    """The first look 12 to 72 hours later; a prediction that cannot be judged has a state that says why."""
    rows = [Kept(f"v{n}", seen, **more) for n, (seen, more, _, _) in enumerate(STATES)]  # type: ignore[arg-type]
    found = {look.candidate_id: (look.state, look.views_per_day) for look in found_in(loop, rows)}
    failures = []
    for number, (seen, more, state, rate) in enumerate(STATES):
        if found[f"v{number}"] != (state, None if rate is None else pytest.approx(rate)):
            failures.append((seen, more, found[f"v{number}"]))
    assert failures == []
    counts = judge(found_in(loop, rows), VIRAL).states
    assert counts == {
        state: sum(row[2] == state for row in STATES) for state in dict.fromkeys(row[2] for row in STATES)
    } | {"count fell": 1}


def test_figures_are_those_of_the_judged(loop: Loop) -> None:
    """AUROC as scikit-learn computes it; MAE, bias and coverage in log1p; each within its interval."""
    rows = drawn(300)
    outcomes = judged(loop, rows)
    group = outcomes.groups["all"]["all"]
    real = np.array([row.looks[0][1] - 1000 for row in rows], dtype=float)
    predicted = np.array([row.velocity for row in rows])
    scores = np.array([row.score for row in rows])
    errors = np.log1p(predicted) - np.log1p(real)
    inside = [
        row.interval[0] <= rate <= row.interval[1]
        for row, rate in zip(rows, real, strict=True)
        if row.interval
    ]
    tenths = np.minimum((scores * 10).astype(int), 9)
    gaps = [abs((scores - (real > VIRAL))[tenths == tenth].sum()) for tenth in range(10)]
    expected = {
        "auroc": roc_auc_score(real > VIRAL, scores),
        "ece": sum(gaps) / len(rows),
        "mae": np.abs(errors).mean(),
        "bias": errors.mean(),
        "coverage": np.mean(inside),
    }
    assert {name: each.difference for name, each in group.figures.items()} == pytest.approx(expected)
    assert all(
        each.low < each.difference < each.high for name, each in group.figures.items() if name != "ece"
    )
    assert (group.rows, group.videos, group.viral) == (300, 150, int((real > VIRAL).sum()))


def test_figures_are_by_week_version_and_known_values(loop: Loop) -> None:
    """Each prediction is in one group of each kind; small groups have a count and no figures."""
    rows = [
        *drawn(200),
        Kept("one", [(24, 1500)], days_ago=4, known=PREVIOUS, version="rare"),
        Kept("two", [(24, 1500)], days_ago=4, known=("title", "view_count"), version="rare"),
    ]
    groups = judged(loop, rows).groups
    assert {by: sum(group.rows for group in each.values()) for by, each in groups.items()} == dict.fromkeys(
        ("all", "week", "version", "known"), 202
    )
    assert {name: group.rows for name, group in groups["version"].items()} == {
        VERSION: 150,
        OTHER: 50,
        "rare": 2,
    }
    assert {name: group.rows for name, group in groups["known"].items()} == {
        "counts and age": 133,
        "title and length": 67,
        "counts and age and previous look": 1,
        "counts": 1,
    }
    assert (groups["version"]["rare"].figures, len(groups["version"][OTHER].figures)) == ({}, 5)
    assert len(groups["week"]) >= 5


def test_a_shadow_is_better_worse_or_undecided(loop: Loop) -> None:
    """Paired on the same looks; too few of them give no comparison."""
    failures = []
    for error, rows, verdict in ((0.2, 200, "better"), (3.0, 200, "worse"), (1.0, 40, "undecided")):
        outcomes = judged(loop, drawn(rows, shadow_error=error))
        duels = outcomes.duels
        difference = duels[0].differences["mae"].difference
        seen = [(duel.new, duel.served, duel.verdict) for duel in duels]
        if seen != [("shadow", VERSION, verdict), ("shadow", OTHER, seen[-1][2])] or seen[0][2] != verdict:
            failures.append((error, seen))
        failures += (
            [] if math.copysign(1, difference) == math.copysign(1, error - 1) or error == 1 else [error]
        )
        failures += [] if outcomes.groups["all"]["all"].rows == rows else ["shadows are counted as served"]
    assert failures == []
    few = judged(loop, drawn(MIN_ROWS - 2, shadow_error=0.2))
    assert [duel.differences for duel in few.duels] == [{}, {}]


def test_recent_predictions_may_be_judged_by_themselves(loop: Loop) -> None:
    recent = [row for row in drawn(120) if row.days_ago < 10.25]
    assert len(found_in(loop, drawn(120), days=10.25)) == len(recent) > 0


def test_the_command_prints_writes_and_serves(loop: Loop, tmp_path: Path) -> None:
    """Figures and counts on stdout, a self-contained page, and the same figures for Prometheus."""
    found_in(loop, [*drawn(200, shadow_error=0.2), Kept("young", days_ago=1), Kept("gone", score=0.9)])
    words = ["--viral-velocity", str(VIRAL)]
    done = completed([*COMMAND, loop.url, *words, "--out", tmp_path / "page"])
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["predictions"]["judged"] == 200
    assert "shadow is better than" in done.stdout
    assert "Of 201 predictions that are old enough, 200 (100%) are judged." in done.stdout
    page = (tmp_path / "page" / "index.html").read_text()
    assert "200 of 202 predictions can be judged" in page
    assert ("less than 72 hours old" in page, "0.900 for those not seen again" in page) == (True, True)
    assert json.loads((tmp_path / "page" / "outcomes.json").read_text())["groups"] == last["groups"]
    port = free_port()
    url = f"http://127.0.0.1:{port}/metrics"
    told = lambda: httpx.get(url, verify=PLAIN).text  # noqa: E731
    command = [*COMMAND, loop.url, *words, "--watch", "0.5", "--port", str(port)]
    with started(command, tmp_path / "log", lambda: answers(url), cwd=ROOT) as process:
        until(lambda: "miles_outcomes_figure" in told())
        families = {each.name: each for each in text_string_to_metric_families(told())}
        shown = {
            (sample.labels["figure"], sample.labels["bound"]): sample.value
            for sample in families["miles_outcomes_figure"].samples
            if sample.labels["by"] == "all"
        }
        mae = last["groups"]["all"]["all"]["figures"]["mae"]
        assert [shown["mae", bound] for bound in ("value", "low")] == pytest.approx(
            [mae["difference"], mae["low"]]
        )
        assert families["miles_outcomes_up"].samples[0].value == 1
        loop.run("ALTER TABLE predictions RENAME TO away")
        until(lambda: "miles_outcomes_up 0.0" in told())
        assert "miles_outcomes_figure" in told(), "the last figures stay"
        loop.run("ALTER TABLE away RENAME TO predictions")
        until(lambda: "miles_outcomes_up 1.0" in told())
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) == 130


def test_what_is_missing_is_one_line(
    loop: Loop, database: Database, tiny_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The database, its tables, or what viral means; no password is shown."""
    secret = loop.url.partition("://")[2].partition("@")[0].partition(":")[2]
    known = ["--viral-velocity", "1"]
    cases = {
        ("",): "name the database",
        ("mysql://x", *known): "not a PostgreSQL address",
        (database.url, *known): "run clients/database/loop.sql there",
        (loop.url.replace(secret, "wrong"), *known): "password authentication failed",
        (loop.url, "--checkpoint", str(tiny_path)): "add --viral-velocity VIEWS",
        (loop.url, "--checkpoint", "none.pt"): "none.pt",
    }
    failures = []
    for words, said in cases.items():
        code, line = main(["outcomes", *words]), capsys.readouterr().err
        if code != 1 or said not in line or line.count("\n") != 1 or secret in line:
            failures.append((words[1:], line))
    assert failures == []


def test_the_steps_address_is_read(loop: Loop) -> None:
    """With SQLAlchemy's driver and Prisma's options, as DATABASE_URL often has them."""
    address = loop.url.replace("postgresql://", "postgresql+psycopg://") + "?pgbouncer=true&schema=public"
    with reading(address) as connection:
        assert connection.execute("SELECT 1 AS one").fetchone() == {"one": 1}


def test_an_unreachable_database_is_one_sentence() -> None:
    """The address without its password."""
    address = "postgresql://me:hush@127.0.0.1:1/none"  # pragma: allowlist secret
    with pytest.raises(DatabaseError, match=r"127\.0\.0\.1:1/none") as raised, reading(address):
        pass
    assert "hush" not in str(raised.value)


def _killed(loop: Loop, folder: Path, kills: int, rows: int) -> list[str]:
    """What is wrong after the command was killed `kills` times while it judged and wrote."""
    draw = random.Random(18)  # noqa: S311  no secret
    found_in(loop, drawn(rows, shadow_error=0.5))
    before = loop.run("SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM predictions p")
    words = ["outcomes", loop.url, "--viral-velocity", str(VIRAL), "--out", str(folder)]
    started = time.monotonic()
    assert main(words) == 0
    took_s = time.monotonic() - started
    numbers, page = folder / "outcomes.json", folder / "index.html"
    expected = json.loads(numbers.read_text())["groups"]
    # Forked processes need no new imports, and have no threads that could hold a lock.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.outcomes.__main__"])
    wrong = []
    for number in range(kills):
        numbers.unlink(missing_ok=True)
        process = context.Process(target=main, args=(words,))
        process.start()
        if number % 2:
            until(lambda: numbers.exists() or not process.is_alive())  # noqa: B023
        else:
            process.join(draw.uniform(0, took_s))
        process.kill()
        process.join(LIMIT_S)
        if numbers.exists() and json.loads(numbers.read_text())["groups"] != expected:
            wrong.append("outcomes.json counts other rows")
        if not page.read_text().endswith("</html>\n"):
            wrong.append("index.html is cut off")
    numbers.unlink(missing_ok=True)
    assert main(words) == 0
    if json.loads(numbers.read_text())["groups"] != expected:
        wrong.append("the run after the kills counts other rows")
    if loop.run("SELECT md5(string_agg(p::text, '' ORDER BY id)) FROM predictions p") != before:
        wrong.append("predictions have changed")
    return wrong


@pytest.mark.hostile
def test_outcomes_killed_twenty_times_count_the_same_rows(loop: Loop, tmp_path: Path) -> None:
    """Killed at twenty seeded moments: the database is only read, and a file is whole or absent."""
    assert _killed(loop, tmp_path, 20, 200) == []
