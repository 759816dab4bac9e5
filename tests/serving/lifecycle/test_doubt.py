"""Telling a broken model from requests that fail, with a probe that is told what to do."""

import asyncio

import pytest

from serving.lifecycle.doubt import FAILURES, Doubt

pytestmark = pytest.mark.anyio


class Probe:
    """A question; fails as long as it has failures left."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.asked = 0

    async def __call__(self) -> None:
        """Ask it."""
        self.asked += 1
        if self.asked <= self.failures:
            raise MemoryError("on cue")


async def after(probe: Probe, failed: int) -> list[str]:
    """The faults that are told after so many failed forwards."""
    faults: list[str] = []
    doubt = Doubt(probe, faults.append, pause_s=0)
    for _ in range(failed):
        doubt.failed()
        for _ in range(20):
            await asyncio.sleep(0)
    doubt.stop()
    return faults


async def test_few_failures_ask_nothing() -> None:
    """One request's fault is not looked into."""
    probe = Probe()
    assert await after(probe, FAILURES - 1) == []
    assert probe.asked == 0


async def test_model_that_answers_is_not_to_blame() -> None:
    """It is asked again after as many failures, not after each."""
    probe = Probe()
    assert await after(probe, 3 * FAILURES) == []
    assert probe.asked == 3


async def test_fault_that_passes_is_none() -> None:
    """The second try counts as well as the first."""
    assert await after(Probe(failures=1), FAILURES) == []


async def test_model_that_fails_whatever_it_is_asked_is_told() -> None:
    """With the last error, once."""
    told = "the model fails on whatever it is asked: MemoryError: on cue"
    assert await after(Probe(failures=99), FAILURES) == [told]
