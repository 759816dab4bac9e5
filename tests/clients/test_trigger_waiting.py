"""clients/trigger_inference.py and a service that is away, asleep, slow, limited or not Miles."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.clients.command import FAST, Running, Trigger, ran, read_until, running
from tests.clients.door import WAKING_PAGE, Door, Hold, open_door
from tests.clients.scraped import scraped
from tests.support.faulty_service import RAISE, cue
from tests.support.postgres import Candidates
from tests.support.process import LIMIT_S
from tests.support.service import free_port, ready_service, started_service, wait_for
from tests.support.web import Reply

SCRIPT = "trigger_inference.py"
HTML_503 = Reply(503, WAKING_PAGE)


def test_a_service_that_dies_and_comes_back_is_waited_for(
    tiny_bundle: Path, candidates: Candidates, tmp_path: Path
) -> None:
    candidates.add(scraped(22))
    port, hold = free_port(), Hold()
    log = tmp_path / "service.log"
    with open_door(f"http://127.0.0.1:{port}") as door:
        settings = {"DATABASE_URL": candidates.url, "INFERENCE_API_URL": door.url}
        with ready_service(log, checkpoint=tiny_bundle, port=port) as first:
            door.plan += [None, hold]
            with running(
                SCRIPT, "--waits", "3", "--patience", "300", "--batch", "8", folder=tmp_path, **settings
            ) as process:
                assert hold.reached.wait(LIMIT_S)
                first.stop(signal.SIGKILL)
                hold.release.set()
                assert "no connection to 127.0.0.1:" in read_until(process, "waiting")
                with ready_service(log, checkpoint=tiny_bundle, port=port):
                    assert "22 scored, 0 skipped" in read_until(process, " skipped")
                    assert process.wait(LIMIT_S) == 0
    assert len(candidates.scored()) == 22


def test_a_sleeping_space_is_waited_for(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    """Its 503 page, a page with 200 and a 502 are not scores; the rows are not locked meanwhile."""
    candidates.add(scraped(22))
    door.plan += [HTML_503, Reply(200, WAKING_PAGE), Reply(502, b"Bad Gateway")]
    done = trigger()
    assert (done.returncode, done.stdout.count("waiting ")) == (0, 3), done.stdout
    assert len(candidates.scored()) == 22


def test_rows_are_free_while_a_run_waits_for_the_service(
    begun: Callable[..., Running], door: Door, candidates: Candidates
) -> None:
    """A lock is held for one call, never for a wait: another session may take the same rows meanwhile."""
    candidates.add(scraped(5))
    door.plan += [HTML_503]
    with begun("--waits", "30", "--patience", "300") as process:
        read_until(process, "waiting 30 s")
        assert len(candidates.run("SELECT id FROM candidates FOR UPDATE SKIP LOCKED")) == 5


def test_a_call_that_takes_too_long_is_tried_again(
    trigger: Trigger, door: Door, candidates: Candidates
) -> None:
    """A waking Space may also time out."""
    candidates.add(scraped(3))
    hold = Hold()
    door.plan += [hold]
    done = trigger("--timeout", "0.5")
    hold.release.set()
    assert "no answer within 0.5 s" in done.stdout
    assert len(candidates.scored()) == 3


def test_a_service_that_stays_away_ends_the_run(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    candidates.add(scraped(3))
    door.instead = {"/predict/batch": HTML_503}
    done = trigger("--patience", "0.3")
    assert done.returncode == 3
    assert "gave up" in done.stdout
    assert candidates.scored() == []


def test_retry_after_is_honoured(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    """The run waits 2 s instead of 0.05 s; beyond its patience, also as a date, it ends."""
    candidates.add(scraped(3))
    json_503 = {"Content-Type": "application/problem+json", "Retry-After": "2"}
    door.plan += [Reply(503, b'{"detail": "the model is loading"}', json_503)]
    assert "waiting 2 s for the service: 503: the model is loading" in trigger("--limit", "1").stdout
    for later in ("86400", "Fri, 01 Jan 2100 00:00:00 GMT"):
        door.plan += [Reply(429, b'{"detail": "later"}', json_503 | {"Retry-After": later})]
        done = trigger()
        assert (done.returncode, "waiting" in done.stdout) == (3, False)


def test_a_rate_limit_is_never_a_rows_fault(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    """A row that gets a 429 in its batch and four times on its own is retried and scored."""
    candidates.add(scraped(3))
    kind = {"Content-Type": "application/json"}
    score = {"viral_score": 0.5, "predicted_velocity": 1}
    limited = {"error": {"status": 429, "detail": "later"}}
    door.plan += [Reply(200, json.dumps({"predictions": [score, score, limited]}).encode(), kind)]
    door.plan += [Reply(429, b'{"detail": "later"}', kind)] * 4
    done = trigger()
    assert (done.returncode, "3 scored, 0 skipped" in done.stdout) == (0, True), done.stdout


def test_a_service_without_the_batch_route_is_asked_row_by_row(
    trigger: Trigger, door: Door, candidates: Candidates
) -> None:
    for status in (404, 405):
        candidates.create()
        candidates.add(scraped(6))
        door.calls.clear()
        door.instead = {"/predict/batch": Reply(status, b'{"detail": "Not Found"}')}
        assert trigger("--batch", "3").returncode == 0
        assert door.paths() == ["/predict/batch", *["/predict"] * 6]


INVALID_SCORES: list[dict[str, Any]] = [
    {"predictions": []},
    {"predictions": [{"viral_score": 7, "predicted_velocity": 1}] * 3},
    {"predictions": [{"viral_score": 0.5}] * 3},
    {"predictions": [{"viral_score": True, "predicted_velocity": 1}] * 3},
    {"predictions": [{"viral_score": 0.5, "predicted_velocity": -1}] * 3},
    {"scores": [0.5, 0.5, 0.5]},
]


def test_an_invalid_score_is_never_written(trigger: Trigger, door: Door, candidates: Candidates) -> None:
    candidates.add(scraped(3))
    kind = {"Content-Type": "application/json"}
    door.plan += [Reply(200, json.dumps(answer).encode(), kind) for answer in INVALID_SCORES]
    assert [trigger().returncode for _ in INVALID_SCORES] == [2] * len(INVALID_SCORES)
    assert candidates.scored() == []


def test_a_row_that_breaks_the_forward_spares_its_neighbours(
    tiny_bundle: Path, candidates: Candidates, tmp_path: Path
) -> None:
    """A text on which the engine raises gets no score in three tries; the other 21 rows have theirs."""
    rows = scraped(22)
    rows[2]["title"], rows[2]["description"] = cue(RAISE), None
    candidates.add(rows)
    faulty = started_service(tmp_path / "log", ["-m", "tests.support.faulty_service"], checkpoint=tiny_bundle)
    with faulty as service:
        wait_for(service, "/health/ready")
        settings = {"DATABASE_URL": candidates.url, "INFERENCE_API_URL": service.url}
        done = ran(SCRIPT, *FAST, folder=tmp_path, **settings)
    assert done.returncode == 1
    assert "21 scored, 1 skipped" in done.stdout
    assert "no answer in 3 tries; 503" in done.stdout
