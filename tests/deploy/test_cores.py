"""Processes on one machine get separate cores, however many each wants."""

import os
import sys
from pathlib import Path

from deploy.cores import chosen_cores
from tests.support.process import completed

TAKE = "import pathlib, sys; from deploy.cores import take_cores; take_cores(1, pathlib.Path(sys.argv[1]))"
SHOW = "; import os; print(sorted(os.sched_getaffinity(0)))"


def test_processes_get_different_cores(tmp_path: Path) -> None:
    """One, two and one of eight cores do not overlap, and a gap between them is found."""
    taken = [chosen_cores(count, range(8), tmp_path) for count in (1, 2, 1, 4)]
    assert taken == [[0], [2, 3], [1], [4, 5, 6, 7]]


def test_cores_are_shared_when_all_are_taken(tmp_path: Path) -> None:
    """A process that comes too late, or wants more than there are, still gets cores."""
    assert chosen_cores(9, range(2), tmp_path) == [0, 1]
    assert chosen_cores(1, range(2), tmp_path) in ([0], [1])


def test_cores_are_free_again_after_the_process(tmp_path: Path) -> None:
    """However it ended; it was bound to the cores that it took, and its successor gets the same ones."""
    first = min(os.sched_getaffinity(0))
    for _ in range(2):
        command = [sys.executable, "-c", TAKE + SHOW, str(tmp_path)]
        ran = completed(command, check=True)
        assert ran.stdout == f"[{first}]\n"
    assert chosen_cores(1, [first], tmp_path) == [first]
