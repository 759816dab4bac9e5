"""`./miles score-dataset` on a real local Ray: killed, resumed, and correct."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from deploy.score_dataset.job import fields_of
from deploy.score_dataset.sources import opened_table
from serving.http.answers import PredictResponse
from serving.http.batch import score_each
from serving.lifecycle.predictor import Predictor
from serving.observability.metrics import Metrics
from serving.scoring.admission import Admission
from serving.settings import Settings
from tests.scale.dataset import COLUMNS, LIMIT_S, finish, kill_when, rejected, scores, start, write_csv
from tests.scale.one_worker import OBSERVED, PART_ROWS, forward_sizes, in_a_process, killed_when, prepared
from tests.scale.ray_here import needs_ray
from tests.support.thumbnail_host import picture
from tests.support.web import Asked, Reply, web_host

ROWS = 300
OPTIONS = ("--map", "title=Headline", "--keep", "id", "--threads", "1", "--observed-at", OBSERVED, "--exact")

pytestmark = needs_ray


async def answers(source: Path, model: Path) -> dict[int, PredictResponse]:
    """One service process's answer for every row that it scores."""
    table = opened_table(source)
    fields = fields_of(COLUMNS, ["title=Headline"], thumbnails=True)
    settings = Settings(checkpoint=str(model), threads=1, max_batch_size=1)
    metrics = Metrics()
    found = {}
    async with Predictor.open(settings, Admission(1000, metrics.registry)) as predictor:
        await asyncio.wait([predictor._loading])  # type: ignore[list-item]
        rows = [row for part in table.parts(1000) for row in table.rows(part, COLUMNS)]
        videos = [
            {field: row[column] for field, column in fields.items()} | {"observed_at": OBSERVED}
            if isinstance(row, dict)
            else None
            for row in rows
        ]
        async for index, entry in score_each(predictor, videos, {"type": "http"}, metrics):
            if isinstance(entry, PredictResponse):
                found[index] = entry
    return found


@pytest.mark.scale
def test_a_model_that_cannot_be_loaded_is_named(tmp_path: Path, model: Path) -> None:
    process = start(write_csv(tmp_path / "in.csv", 5), tmp_path / "out", model, *OPTIONS, precision="bf16")
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith(f"{model}: was compiled with precision f32")


def check(output: Path, source: Path, model: Path) -> None:
    """The scores equal the single process's to the last digit, in order; every other row has a reason."""
    expected = asyncio.run(answers(source, model))
    assert {row["row"]: row["viral_score"] for row in scores(output)} == {
        index: answer.viral_score for index, answer in expected.items()
    }
    assert [row["id"] for row in scores(output)] == [f"v{index}" for index in sorted(expected)]
    reasons = {row["row"]: row["reason"] for row in rejected(output)}
    assert reasons.keys() == set(range(ROWS + 1)) - expected.keys()
    assert reasons[ROWS] == "2 cells, but the header has 7"
    assert reasons[0].startswith(("title: ", "view_count: "))


def test_two_processes_score_what_one_would(tmp_path: Path, model: Path) -> None:
    """To the last digit; rows that cannot be scored are set aside with reasons."""
    source, output = write_csv(tmp_path / "in.csv", ROWS), tmp_path / "out"
    code, account = finish(start(source, output, model, *OPTIONS, "--workers", "2", "--part-rows", "80"))
    assert code == 1
    assert (account["rows"], account["scored_now"], account["cores"]) == (ROWS + 1, ROWS + 1, 2)
    check(output, source, model)


@pytest.mark.scale
@pytest.mark.parametrize("per_host", [1, 3])
def test_thumbnails_of_a_host_are_fetched_few_at_once(tmp_path: Path, model: Path, per_host: int) -> None:
    """For any number of rows in progress, and each is scored with its picture."""
    lock, here, most = threading.Lock(), 0, 0

    def slow(asked: Asked) -> Reply:
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
        time.sleep(0.02)
        with lock:
            here -= 1
        return Reply(200, picture(int(asked.path.strip("/").partition(".")[0])))

    with web_host(slow) as url:
        pictures = tuple(f"{url}/{number}.jpg" for number in range(40))
        source, output = write_csv(tmp_path / "in.csv", 40, pictures), tmp_path / "out"
        in_a_process(prepared(source, output, model, per_host))
    assert most == per_host
    assert {row["image"] for row in scores(output)} == {"used"}


@pytest.mark.scale
def test_a_row_that_ends_its_worker_is_set_aside(tmp_path: Path, model: Path) -> None:
    """After three crashes rows in progress are scored one at a time, and only the fatal one is rejected."""
    fatal, is_asked, is_over = 3, threading.Event(), threading.Event()

    def answer(asked: Asked) -> Reply:
        if asked.path == f"/{fatal}.jpg":
            is_asked.set()
            is_over.wait(LIMIT_S)
        return Reply(200, picture(1))

    with web_host(answer) as url:
        pictures = tuple(f"{url}/{number}.jpg" for number in range(80))
        source, output = write_csv(tmp_path / "in.csv", 80, pictures), tmp_path / "out"
        work = prepared(source, output, model)
        (part,) = work.table.parts(PART_ROWS)
        for run in ("stopped by hand", *["this"] * 3):
            work.results.journal(part).record_attempt(run)
        killed_when(work, is_asked.is_set)
        in_a_process(work)
        is_over.set()
    reasons = {row["row"]: row["reason"] for row in rejected(output)}
    assert reasons.pop(fatal) == "its process died while it scored only this row"
    assert set(reasons) == {0, 50, 80}, "the rows that can't be scored"
    assert {row["row"] for row in scores(output)} == set(range(81)) - {fatal, *reasons}
    assert not list((output / "_journal").iterdir())


@pytest.mark.scale
def test_a_killed_run_resumes_and_every_row_is_scored_once(tmp_path: Path, model: Path) -> None:
    """One process gets SIGKILL, two finish: completed rows are not scored again."""
    source, output = write_csv(tmp_path / "in.csv", ROWS), tmp_path / "out"
    options = (*OPTIONS, "--part-rows", "150")
    before = kill_when(start(source, output, model, *options, "--workers", "1"), output, 20)
    assert 20 <= before < ROWS + 1
    _, account = finish(start(source, output, model, *options, "--workers", "2"))
    assert account["scored_now"] == ROWS + 1 - before
    check(output, source, model)


@pytest.mark.scale
def test_exact_has_each_video_alone_in_its_forward(tmp_path: Path, model: Path) -> None:
    """In both towers and the fusion; without it some share a forward."""
    source = write_csv(tmp_path / "in.csv", 80)
    assert forward_sizes(prepared(source, tmp_path / "exact", model, exact=True)) == {1}
    assert max(forward_sizes(prepared(source, tmp_path / "batched", model))) > 1
