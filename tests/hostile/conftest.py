"""What the long suite shares: a fixture that writes down which promise was measured."""

from typing import Protocol

import pytest

from tests.hostile.ledger import LEDGER, Ledger
from tests.hostile.promises import PROMISES


class Record(Protocol):
    """How a test says what it measured; a promise that is missed fails the test."""

    def __call__(self, name: str, *, wanted: str | None = None, figure: str, kept: bool) -> None:
        """`wanted` names the part where tests/hostile/promises.py has several."""


@pytest.fixture
def promise(request: pytest.FixtureRequest) -> Record:
    """Writes a row of the table that `make hostile` prints; without that command it judges alone."""
    return request.config.stash.get(LEDGER, Ledger(PROMISES)).record
