"""Places for videos: how many are held, who is refused, and when to come back."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from serving.errors import EngineFailedError, OverloadedError, PredictTimeoutError
from serving.http.middleware import FullHouse
from serving.scoring.admission import Admission, DrainRate
from tests.serving.http.asgi import ask, scored
from tests.serving.http.test_rate_limit import Clock


def admission_of(places: int) -> tuple[Admission, CollectorRegistry]:
    """An empty house and its metrics."""
    registry = CollectorRegistry()
    return Admission(places, registry, Clock()), registry


def test_rate_is_what_was_finished_per_second_of_work() -> None:
    """Twenty videos a second for a minute are twenty a second, whatever was guessed before."""
    clock = Clock()
    rate = DrainRate(clock)
    rate.begin()
    for _ in range(1200):
        clock.now += 0.05
        rate.finish()
    assert rate.per_second == pytest.approx(20, rel=0.05)


def test_rest_says_nothing_about_the_rate() -> None:
    """An hour in which nothing waited changes nothing."""
    clock = Clock()
    rate = DrainRate(clock)
    rate.begin()
    for _ in range(1200):
        clock.now += 0.05
        rate.finish()
    rate.rest()
    before = rate.per_second
    clock.now += 3600
    rate.begin()
    assert rate.per_second == before


def test_rate_follows_a_change() -> None:
    """A service that has become ten times slower says so within a minute of work."""
    clock = Clock()
    rate = DrainRate(clock)
    rate.begin()
    for _ in range(1200):
        clock.now += 0.05
        rate.finish()
    for _ in range(120):
        clock.now += 0.5
        rate.finish()
    assert rate.per_second == pytest.approx(2, rel=0.25)


def test_retry_after_is_the_backlog_over_the_rate() -> None:
    """Before anything was measured twenty a second are assumed; a backlog of eighty is four seconds."""
    admission, registry = admission_of(80)
    for _ in range(80):
        admission.enter()
    with pytest.raises(OverloadedError, match="80 videos wait") as refused, admission.place():
        pass
    assert refused.value.retry_after_s == 4
    assert registry.get_sample_value("miles_shed_total") == 1
    assert registry.get_sample_value("miles_queue_videos") == 80


@pytest.mark.parametrize(("places", "expected"), [(1, 1), (5000, 60)])
def test_retry_after_is_bounded(places: int, expected: int) -> None:
    """Nobody is told to come back in less than a second, or in more than a minute."""
    admission, _ = admission_of(places)
    for _ in range(places):
        admission.enter()
    assert admission.refuse().retry_after_s == expected


@pytest.mark.parametrize(
    ("error", "metric"),
    [
        (asyncio.CancelledError(), "miles_abandoned_total"),
        (PredictTimeoutError("late"), "miles_deadline_missed_total"),
        (EngineFailedError("failed"), None),
    ],
)
def test_place_is_free_again_however_it_ends(error: BaseException, metric: str | None) -> None:
    """A score, an error, a deadline and a client that left give a place back; the last two are counted."""
    admission, registry = admission_of(1)
    admission.enter()
    assert admission.is_full
    admission.leave(error)
    with admission.place():
        pass
    assert not admission.is_full
    counted = {
        name: registry.get_sample_value(name)
        for name in ("miles_abandoned_total", "miles_deadline_missed_total")
    }
    assert counted == {name: float(name == metric) for name in counted}


@pytest.mark.anyio
async def test_full_house_refuses_scoring_alone() -> None:
    """While no place is free, scores are refused as problems of a type of their own; others pass."""
    admission, _ = admission_of(1)
    app = FullHouse(scored, admission)
    assert (await ask(app)).status_code == 200
    with admission.place():
        refused = [await ask(app), await ask(app, "/predict/batch")]
        passed = [await ask(app, path, "GET") for path in ("/", "/metrics", "/health/ready", "/model/info")]
    assert [answer.status_code for answer in refused] == [503, 503]
    assert refused[0].json()["type"] == "urn:miles:problem:overloaded"
    assert refused[0].json()["title"] == "Overloaded"
    assert int(refused[0].headers["retry-after"]) >= 1
    assert [answer.status_code for answer in passed] == [200] * 4
