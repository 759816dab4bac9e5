"""CPU time, memory and signals of real processes."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.harness.processes import ProcessTree, machine_cpu_seconds, started
from tests.support.process import until
from tests.support.service import ROOT

# Works for a moment, then sleeps.
BURST = """
import time
while time.process_time() < 0.6: pass
time.sleep(60)
"""
# An idle parent and a child that never stops computing.
FAMILY = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "while True: pass"])
"""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[ProcessTree]:
    """A running parent and its busy child."""
    with started([sys.executable, "-c", FAMILY], os.environ, ROOT, tmp_path / "log") as tree:
        until(lambda: len(tree.members()) == 2)
        yield tree


def test_a_childs_work_counts(family: ProcessTree) -> None:
    """CPU seconds grow while only the child computes."""
    before = family.cpu_seconds()
    until(lambda: family.cpu_seconds() - before > 0.1)


def test_a_paused_tree_uses_no_cpu(family: ProcessTree) -> None:
    """The child stops too, and continues after `resume`."""
    family.pause()
    time.sleep(0.05)  # a signal to another core takes a moment
    before = family.cpu_seconds()
    time.sleep(0.2)
    assert family.cpu_seconds() - before <= 0.02
    family.resume()
    until(lambda: family.cpu_seconds() - before > 0.05)


def test_memory_counts_every_process(family: ProcessTree) -> None:
    assert 10 < family.memory_mb() < 200


def test_stopping_ends_the_children(tmp_path: Path) -> None:
    """No process of the tree is left, even if it was paused."""
    with started([sys.executable, "-c", FAMILY], os.environ, ROOT, tmp_path / "log") as tree:
        until(lambda: len(tree.members()) == 2)
        members = tree.members()
        tree.pause()
    assert not tree.running
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in members))


def test_a_tree_settles_when_its_work_is_done(tmp_path: Path) -> None:
    """`settle` returns after a burst of work, not before."""
    with started([sys.executable, "-c", BURST], os.environ, ROOT, tmp_path / "log") as tree:
        until(lambda: tree.cpu_seconds() > 0.1)
        tree.settle()
        assert tree.cpu_seconds() > 0.5  # counted in ticks of a hundredth of a second


def test_the_machines_time_includes_ours() -> None:
    """Computing for a tenth of a second shows in the machine's total."""
    machine, ours = machine_cpu_seconds(), time.process_time()
    while time.process_time() - ours < 0.15:
        pass
    assert machine_cpu_seconds() - machine >= 0.1
