"""Cores of its own for each scoring process of a machine: what stands beside it cannot take its turn.

Ray counts cores and binds nobody to any. A process that sees 64 cores starts 64 decoders, however few it was
given.
"""

import fcntl
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def take_cores(count: int, folder: Path | None = None) -> list[int]:
    """Bind this thread, and what it starts from now on, to `count` cores that nobody else took so.

    They are free again when the process ends. Where too few are free, as while a replica replaces another
    one, some are shared. Returns them.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"miles-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    mine = chosen_cores(count, sorted(os.sched_getaffinity(0)), folder)
    os.sched_setaffinity(0, mine)
    return mine


def chosen_cores(count: int, allowed: Sequence[int], folder: Path) -> list[int]:
    """`count` neighbours of the `allowed` cores, or as many as there are; `folder` holds who has which."""
    count = min(count, len(allowed))
    groups = [list(allowed[first : first + count]) for first in range(0, len(allowed) - count + 1, count)]
    with (folder / "choosing").open("w") as choosing:
        fcntl.flock(choosing, fcntl.LOCK_EX)  # else two that begin at once may each have half of a group
        for group in groups:
            if _take([folder / str(core) for core in group]):
                return group
    return groups[os.getpid() % len(groups)]


_held: list[int] = []  # a lock lasts as long as its file is open: to the end of the process


def _take(paths: Sequence[Path]) -> bool:
    """Lock all of these files, or none."""
    opened = [os.open(path, os.O_WRONLY | os.O_CREAT, 0o600) for path in paths]
    try:
        for file in opened:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        for file in opened:
            os.close(file)
        return False
    _held.extend(opened)
    return True
