"""Clients that ask one question after another, and retry once, elsewhere, when they get no score."""

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.scale.figures import scored

RETRY_S = 1.0  # before it asks again
PATIENCE_S = 40.0
Answer = dict[str, Any]


@dataclass
class Load:
    """`models` are those that may answer: each one's answers to `questions`, by its name."""

    urls: Sequence[str]
    questions: Sequence[dict[str, Any]]
    models: dict[str, Sequence[Answer]]
    clients: int = 4
    pause_s: float = 0.05  # between a client's questions, so that the cluster is not full
    answered: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    lost: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self) -> Iterator[None]:
        """All clients running; at the end each has had its last answer."""
        clients = [threading.Thread(target=self._run, args=(number,)) for number in range(self.clients)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self._stop.set()
            for client in clients:
                client.join()

    @property
    def account(self) -> dict[str, Any]:
        return {"answered": dict(self.answered), "retried": self.retried, "lost": self.lost}

    def _run(self, number: int) -> None:
        # A connection for each question, as a load balancer would spread them.
        with httpx.Client(timeout=PATIENCE_S, headers={"Connection": "close"}) as client:
            self._ask_on(client, number)

    def _ask_on(self, client: httpx.Client, number: int) -> None:
        urls = itertools.cycle(self.urls[number % len(self.urls) :] + self.urls[: number % len(self.urls)])
        for which in itertools.cycle(range(len(self.questions))):
            if self._stop.is_set():
                return
            said, problem = self._ask(client, next(urls), which)
            if problem is not None:
                time.sleep(RETRY_S)
                with self._lock:
                    self.retried += 1
                said, problem = self._ask(client, next(urls), which)
            with self._lock:
                self.answered.update([said] if said is not None else [])
                self.lost += [problem] if problem is not None else []
            time.sleep(self.pause_s)

    def _ask(self, client: httpx.Client, url: str, which: int) -> tuple[str | None, str | None]:
        """Who answered, or why there is no score."""
        try:
            answer = client.post(f"{url}/predict", json=self.questions[which])
        except httpx.TransportError as exc:
            return None, type(exc).__name__
        if answer.status_code != 200:
            return None, f"{answer.status_code} {answer.text[:200]}"
        said = scored(answer)
        for name, answers in self.models.items():
            if said == answers[which]:
                return name, None
        return None, f"no model's answer: {answer.text[:300]}"
