"""Slots for videos: how many are held, which are refused, and when to retry."""

import asyncio
import contextlib
from contextvars import copy_context

import pytest
from prometheus_client import CollectorRegistry

from serving.errors import EngineFailedError, OverloadedError, PredictTimeoutError
from serving.scoring.admission import CLIENT, EXPLAINED, Admission, DrainRate
from tests.serving.http.test_rate_limit import Clock


def admission_of(capacity: int, taken: int = 0) -> tuple[Admission, CollectorRegistry]:
    """An admission with some slots taken, each by a different client, and its metrics."""
    registry = CollectorRegistry()
    admission = Admission(capacity, registry, Clock())

    def enter(client: str) -> None:
        CLIENT.set(client)
        admission.take(1)

    for number in range(taken):
        copy_context().run(enter, str(number))
    return admission, registry


def measured() -> tuple[DrainRate, Clock]:
    """A rate after a minute of work at twenty videos a second."""
    clock = Clock()
    rate = DrainRate(clock)
    rate.begin()
    for _ in range(1200):
        clock.now += 0.05
        rate.finish()
    return rate, clock


def test_rate_is_videos_finished_per_second_of_work() -> None:
    """Whatever the initial rate, and not counting the hour in which no video was queued."""
    rate, clock = measured()
    assert rate.per_second == pytest.approx(20, rel=0.05)
    rate.rest()
    before = rate.per_second
    clock.now += 3600
    rate.begin()
    assert rate.per_second == before


def test_rate_follows_a_change() -> None:
    """After a minute at a tenth of the speed, the rate is about a tenth."""
    rate, clock = measured()
    for _ in range(120):
        clock.now += 0.5
        rate.finish()
    assert rate.per_second == pytest.approx(2, rel=0.25)


def fill(admission: Admission, client: str) -> int:
    """How many slots a client gets."""
    CLIENT.set(client)
    before = admission.taken
    while not admission.is_full():
        admission.take(1)
    with pytest.raises(OverloadedError, match=f"{admission.taken} videos queued"):
        admission.take(1)
    return admission.taken - before


def free(admission: Admission, client: str, slots: int) -> None:
    """Give back slots of a client."""
    CLIENT.set(client)
    for _ in range(slots):
        admission.give_back(1)


def test_a_client_leaves_slots_to_others() -> None:
    """Of 320 slots one client gets a full batch of 256, and others some of the rest; then all are free."""
    admission, _ = admission_of(320)
    held = {name: copy_context().run(fill, admission, name) for name in ("flood", "second", "third")}
    assert held["flood"] == 256
    assert held["second"] > held["third"] > 0
    for name, slots in held.items():
        copy_context().run(free, admission, name, slots)
    assert admission.taken == 0
    assert copy_context().run(fill, admission, "second") == 256


def test_explained_videos_take_what_they_cost() -> None:
    """Four slots each, if they are free; one such video is accepted even if there are fewer in all."""
    admission, _ = admission_of(10)
    CLIENT.set("one")
    with admission.slot(slots=EXPLAINED), admission.slot(slots=EXPLAINED):
        assert admission.taken == 8
        assert admission.is_full(EXPLAINED)
    assert admission.taken == 0
    small, _ = admission_of(2)
    with small.slot(slots=EXPLAINED):
        assert small.is_full()


def test_waiting_for_thumbnails_keeps_nothing_else_out() -> None:
    """Videos whose thumbnails stall take a client's share, and its other videos still find slots."""
    admission, _ = admission_of(320)

    def stall() -> None:
        CLIENT.set("one")
        with contextlib.suppress(OverloadedError):
            while True:
                admission.slot(waits=True).__enter__()

    copy_context().run(stall)
    assert admission.taken == 256
    assert copy_context().run(fill, admission, "one") > 40


def test_retry_after_is_the_backlog_over_the_rate() -> None:
    """At the initial rate of 20/s, a backlog of eighty takes four seconds; the bounds are 1 s and 60 s."""
    admission, registry = admission_of(80, taken=80)
    with pytest.raises(OverloadedError) as refused, admission.slot():
        pass
    assert str(refused.value) == "At capacity: 80 videos queued. Retry in 4 s."
    assert refused.value.retry_after_s == 4
    assert registry.get_sample_value("miles_shed_total") == 1
    assert registry.get_sample_value("miles_queue_videos") == 80
    assert registry.get_sample_value("miles_queue_places") == 80
    bounds = [admission_of(capacity, capacity)[0].refuse().retry_after_s for capacity in (1, 5000)]
    assert bounds == [1, 60]


@pytest.mark.parametrize(
    ("error", "metric"),
    [
        (asyncio.CancelledError(), "miles_abandoned_total"),
        (PredictTimeoutError("late"), "miles_deadline_missed_total"),
        (EngineFailedError("failed"), None),
    ],
)
def test_slot_is_free_again_after_any_outcome(error: BaseException, metric: str | None) -> None:
    """A score, an error, a deadline or a disconnect frees the slot; the last two are counted."""
    admission, registry = admission_of(1)
    with pytest.raises(type(error)), admission.slot():
        raise error
    with admission.slot():
        pass
    assert not admission.is_full()
    counted = {
        name: registry.get_sample_value(name)
        for name in ("miles_abandoned_total", "miles_deadline_missed_total")
    }
    assert counted == {name: float(name == metric) for name in counted}
