"""The load on more than one machine: what it counts as answered, asked again and lost."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.scale import load
from tests.scale.load import Load
from tests.support.web import Asked, Reply, web_host

RIGHT, WRONG = {"viral_score": 0.5}, {"viral_score": 0.25}
QUESTION = {"title": "one"}


@contextmanager
def host(statuses: Sequence[int], answer: dict[str, float] = RIGHT) -> Iterator[str]:
    """Answers with these statuses in turn, then always with the last one."""
    left = list(statuses)

    def respond(_: Asked) -> Reply:
        return Reply(left.pop(0) if len(left) > 1 else left[0], json.dumps(answer).encode())

    with web_host(respond) as url:
        yield url


def asked(urls: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Load:
    """One client's load, until it has asked a few times."""
    monkeypatch.setattr(load, "RETRY_S", 0.0)
    asking = Load(urls, [QUESTION], {"known": [RIGHT]}, clients=1, pause_s=0)
    with asking.running():
        while asking.answered.total() + len(asking.lost) < 3:
            time.sleep(0.01)
    return asking


def test_one_more_try_recovers_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as asked again, not as lost."""
    with host([503, 200]) as url:
        seen = asked([url], monkeypatch)
    assert (seen.retried, seen.lost) == (1, [])
    assert seen.answered.keys() == {"known"}


def test_two_failures_are_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the second one's status."""
    with host([503, 500, 200]) as url:
        seen = asked([url], monkeypatch)
    assert [reason[:3] for reason in seen.lost] == ["500"]


def test_another_model_s_answer_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 200 is not enough: it has to be what a model that may answer would say."""
    with host([200], WRONG) as url:
        seen = asked([url], monkeypatch)
    assert not seen.answered
    assert seen.lost[0].startswith("no model's answer")


def test_the_second_try_goes_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two proxies one may be gone with its machine."""
    with host([200]) as up, host([200]) as other:
        gone = other
    with host([200]) as up:
        seen = asked([gone, up], monkeypatch)
    assert seen.lost == []
    assert seen.retried > 0
