"""A process killed while a dataset is scored costs no row its score, and no row is scored twice."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.database import Database
from deploy.score_dataset.postgres import TableOut
from deploy.score_dataset.worker import AT_ONCE
from tests.scale.dataset import finish, journaled, scores, start, write_csv
from tests.scale.one_worker import in_a_process, killed_when, prepared
from tests.scale.processes_seen import kill_scorer
from tests.scale.ray_here import needs_ray
from tests.scale.test_postgres import address_of
from tests.support.postgres import Candidates, separate
from tests.support.process import until
from tests.support.thumbnail_host import ThumbnailHost, thumbnail_host

ROWS = 400
OPTIONS = ("--map", "title=Headline", "--keep", "id", "--observed-at", "2018-03-01T00:00:00+00:00", "--exact")
HERE: dict[str, Any] = {"thumbnail_trusted_networks": "127.0.0.0/8"}

pytestmark = [needs_ray, pytest.mark.scale]


def asked_again(host: ThumbnailHost) -> int:
    """The number of pictures, one per row, that were fetched more than once, as their host counted."""
    return sum(count > 1 for count in Counter(host.asked).values())


def test_a_killed_process_is_replaced(tmp_path: Path, model: Path) -> None:
    """A process that scores gets SIGKILL: the run ends as usual, and only rows in progress are done again."""
    with thumbnail_host() as host:
        pictures = tuple(host.thumbnail(seed) for seed in range(ROWS))
        source, output = write_csv(tmp_path / "in.csv", ROWS, pictures), tmp_path / "out"
        options = (*OPTIONS, "--part-rows", "200", "--workers", "1")
        process = start(source, output, model, *options, **HERE)
        until(lambda: journaled(output) >= 100)
        kill_scorer(process)
        _, account = finish(process)
        again = asked_again(host)
    assert account["rows"] == ROWS + 1
    assert 0 < again <= AT_ONCE
    first, untouched = scores(output), tmp_path / "untouched"
    assert [row["row"] for row in first] == sorted({row["row"] for row in first})
    with thumbnail_host() as host:
        again_source = tmp_path / "again.csv"
        old, new = pictures[0].rpartition("/")[0], host.url
        again_source.write_text(source.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        finish(start(again_source, untouched, model, *options, **HERE))
    assert first == scores(untouched)


def test_a_process_killed_between_a_transaction_and_its_file(
    tmp_path: Path, model: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has each score once and equal to the file's, and no row is scored again."""
    output = tmp_path / "out"
    gate = output / ".part-000000000.parquet.unfinished"
    url = separate(database)
    with thumbnail_host() as host:
        pictures = tuple(host.thumbnail(seed) for seed in range(60))
        source = write_csv(tmp_path / "in.csv", 60, pictures)
        columns = {"id": "text", "viral_score": "double precision"}
        into = TableOut(address_of(url, monkeypatch), "scores", "id", columns)
        into.prepare()
        work, table = prepared(source, output, model, into=into), Candidates(url)
        os.mkfifo(gate)  # the process that writes the part's file waits here, after its transaction
        killed_when(work, lambda: bool(table.run("SELECT 1 FROM scores")))
        gate.unlink()
        before = len(host.asked)
        assert not list(output.glob("part-*"))
        in_a_process(work)
        assert len(host.asked) == before
        rows = table.run("SELECT id, viral_score FROM scores ORDER BY id")
    assert rows == sorted((row["id"], row["viral_score"]) for row in scores(output))
    assert len(rows) > 50
