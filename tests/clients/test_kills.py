"""The clients killed with SIGKILL at twenty seeded moments: no row is lost, none is scored twice."""

import random
import signal
import time
from pathlib import Path

import pytest

from tests.clients.command import FAST, ran, running
from tests.clients.door import Door
from tests.clients.scraped import scraped
from tests.support.postgres import Candidates
from tests.support.process import LIMIT_S, until

pytestmark = pytest.mark.hostile
KILLS = 20
ROWS = 160
FILE_ROWS = 800  # more than are scored before the last kill, however late each comes


def test_a_killed_step_loses_no_row_and_writes_none_twice(
    door: Door, candidates: Candidates, tmp_path: Path
) -> None:
    """After each kill all rows are unlocked, and the next run continues; the output shows its progress."""
    draw = random.Random(18)  # noqa: S311  not a secret
    candidates.add(scraped(ROWS))
    settings = {"DATABASE_URL": candidates.url, "INFERENCE_API_URL": door.url}
    words = (*FAST, "--batch", "3", "--limit", str(ROWS))
    reported = 0
    for _ in range(KILLS):
        with running("trigger_inference.py", *words, folder=tmp_path, **settings) as process:
            assert process.stdout is not None, "started with a pipe"
            for _ in range(draw.randrange(8)):
                reported += process.stdout.readline().startswith("scored  ")
            time.sleep(draw.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT_S)
        assert len(candidates.scored()) >= reported, "what is reported is committed"
        assert len(candidates.run("SELECT id FROM candidates FOR UPDATE SKIP LOCKED")) == ROWS
    assert ran("trigger_inference.py", *words, folder=tmp_path, **settings).returncode == 0
    assert len(candidates.scored()) == ROWS
    assert candidates.written_more_than_once() == 0


def test_a_killed_file_ends_as_an_uninterrupted_one(door: Door, tmp_path: Path) -> None:
    """At most one batch is requested again after a kill; the output is the same byte for byte."""
    draw = random.Random(18)  # noqa: S311  not a secret
    rows = "".join(f'"Video {number}",{number},2026-01-02T00:00:00Z\n' for number in range(FILE_ROWS))
    (tmp_path / "v.csv").write_text("title,view_count,observed_at\n" + rows)
    part = tmp_path / "v.scored.csv.part"

    def finished() -> int:
        return part.read_bytes().count(b"\n") if part.exists() else 0

    settings, words, asked = {"INFERENCE_API_URL": door.url}, (*FAST, "--batch", "3", "v.csv"), []
    for _ in range(KILLS):
        before, more = finished(), draw.randrange(1, 8)
        with running("score_csv.py", *words, folder=tmp_path, **settings) as run:
            until(lambda: finished() >= before + more or run.poll() is not None)  # noqa: B023
            time.sleep(draw.uniform(0, 0.05))
            run.send_signal(signal.SIGKILL)
            run.wait(LIMIT_S)
        asked += door.titles()
        door.calls.clear()
    assert ran("score_csv.py", *words, folder=tmp_path, **settings).returncode == 0
    asked += door.titles()
    assert len(asked) <= FILE_ROWS + 3 * KILLS, "at most one batch is asked for again after a kill"
    assert ran("score_csv.py", *words, "whole.csv", folder=tmp_path, **settings).returncode == 0
    assert (tmp_path / "v.scored.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
