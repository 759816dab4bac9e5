"""Runs the long suite and prints the table of promises: `python -m tests.hostile [pytest's arguments]`.

Exits non-zero when a test fails, a promise is missed or, in a run without arguments, one was not measured.
The last line on standard output is the same report as JSON.
"""

import sys
from collections.abc import Sequence

import pytest

from tests.hostile.ledger import LEDGER, Ledger, Promises
from tests.hostile.promises import PROMISES


def run(suite: str, promises: Promises, arguments: Sequence[str]) -> int:
    """Run a suite, print which promises were kept, and return the exit status."""
    ledger = Ledger(promises)
    whole = not arguments
    status = int(
        pytest.main([suite, "-m", "hostile", "--durations=10", *arguments], plugins=[Holder(ledger)])
    )
    print(f"\n{ledger.table(whole=whole)}\n")
    print(ledger.verdict(whole=whole, status=status), flush=True)
    return status or int(not ledger.kept(whole=whole))


class Holder:
    """Hands the ledger to the fixture `promise`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[LEDGER] = self._ledger


if __name__ == "__main__":
    sys.exit(run("tests", PROMISES, sys.argv[1:]))
