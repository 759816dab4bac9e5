"""A door in front of a real service: it passes calls on, and may hold or answer one as a host would."""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from subprocess import CompletedProcess
from typing import Any

import httpx

from tests.support.process import LIMIT_S, PLAIN
from tests.support.web import Asked, Reply, web_host

WAKING_PAGE = b"<!DOCTYPE html><title>Space</title><p>Your Space is waking up"
# They concern one connection, so they are not passed on.
OWN_HEADERS = {"connection", "content-length", "transfer-encoding", "host", "date", "server", "keep-alive"}


class Hold:
    """A call that waits at the door: `reached` is set when it arrives, and `release` lets it continue."""

    def __init__(self) -> None:
        self.reached, self.release = threading.Event(), threading.Event()


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Door:
    """The address, the calls seen so far, and the plan for the next ones; later calls are passed on."""

    upstream: str
    strip: str = ""
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    plan: deque[Reply | Hold | None] = field(default_factory=deque)
    instead: dict[str, Reply] = field(default_factory=dict)
    """Paths that are never passed on."""

    def titles(self) -> list[str]:
        return [
            video.get("title", "")
            for call in self.calls
            if call.path.startswith("/predict")
            for video in call.body.get("videos", [call.body])
        ]

    def paths(self) -> list[str]:
        return [call.path for call in self.calls]


@contextmanager
def open_door(upstream: str, strip: str = "") -> Iterator[Door]:
    """A door on a free port of this machine; `strip` is taken from the front of each path."""
    door = Door(upstream, strip)
    with httpx.Client(timeout=LIMIT_S, trust_env=False, verify=PLAIN) as client:

        def answer(asked: Asked) -> Reply | None:
            path = asked.path.partition("?")[0]
            parsed = json.loads(asked.body) if asked.body else None
            door.calls.append(Call(asked.method, path, dict(asked.headers), parsed))
            step = door.instead.get(path) or (door.plan.popleft() if door.plan else None)
            if isinstance(step, Hold):
                step.reached.set()
                assert step.release.wait(LIMIT_S), "a test holds a call and never releases it"
            return step if isinstance(step, Reply) else _pass_on(door, client, asked)

        with web_host(answer) as door.url:
            yield door


def two_at_once(door: Door, run: Callable[[], CompletedProcess[str]]) -> list[CompletedProcess[str]]:
    """Run a command twice at once: both wait for the service before either continues."""
    first, second = Hold(), Hold()
    door.plan += [first, second]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(run) for _ in range(2)]
        assert first.reached.wait(LIMIT_S)
        assert second.reached.wait(LIMIT_S)
        first.release.set()
        second.release.set()
        return [run.result() for run in runs]


def _pass_on(door: Door, client: httpx.Client, asked: Asked) -> Reply | None:
    kept = {name: value for name, value in asked.headers.items() if name.lower() not in OWN_HEADERS}
    target = door.upstream + asked.path.removeprefix(door.strip)
    try:
        answer = client.request(asked.method, target, content=asked.body, headers=kept)
    except httpx.TransportError:
        return None  # what a client sees when the service behind a port dies
    dropped = OWN_HEADERS | {"content-encoding"}
    headers = {name: value for name, value in answer.headers.items() if name not in dropped}
    return Reply(answer.status_code, answer.content, headers)
