"""Runs the tests of more than one machine, the long ones too: `python -m tests.scale [pytest's arguments]`.

`--rows 5000` makes the dataset of the longest ones, 100,000 rows, a smaller one. Prints what was measured as
a table; the last line on standard output is the same as JSON.
"""

import sys
from collections.abc import Sequence
from typing import Any

import pytest

from tests.scale.figures import FIGURES, ROWS, line, table


class Holder:
    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        """How long the longest tests are."""
        parser.addoption("--rows", type=int, default=ROWS, help=f"rows of the large dataset ({ROWS})")

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[FIGURES] = self.figures


def main(arguments: Sequence[str]) -> int:
    holder = Holder()
    marked = ["-m", "scale or not scale", "--durations=10"]
    status = int(pytest.main(["tests/scale", *marked, *arguments], plugins=[holder]))
    print(f"\n{table(holder.figures)}\n")
    print(line(holder.figures, status), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
