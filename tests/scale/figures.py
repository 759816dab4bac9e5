"""The account of `make scale-test`: what each test measured, as a table and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from tests.support.service import ready_service

ROWS = 100_000  # of the large dataset, unless `--rows` says otherwise
FIGURES = pytest.StashKey[dict[str, Any]]()


class Figure(Protocol):
    """How a test reports what it measured."""

    def __call__(self, name: str, value: Any) -> None:
        """`name` includes the unit."""


def table(figures: dict[str, Any]) -> str:
    width = max(map(len, figures), default=0)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in figures.items())


def line(figures: dict[str, Any], status: int) -> str:
    return json.dumps({"passed": status == 0, **figures})


def answers_of(bundle: Path, questions: Sequence[dict[str, Any]], log: Path) -> list[dict[str, Any]]:
    """The single process's answer to each question with that model."""
    with ready_service(log, checkpoint=bundle, max_batch_size=1) as single:
        return [scored(httpx.post(f"{single.url}/predict", json=question)) for question in questions]


def scored(answer: httpx.Response) -> dict[str, Any]:
    """A prediction without its timings."""
    body: dict[str, Any] = answer.json()
    body.pop("processing_time_ms", None)
    return body
