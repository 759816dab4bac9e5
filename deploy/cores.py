"""Binds each scoring process of a machine to cores of its own.

Ray counts cores but does not bind processes to them, and a process that sees 64 cores would start 64
decoders.
"""

import fcntl
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def take_cores(count: int, folder: Path | None = None) -> list[int]:
    """Bind this thread, and threads and processes that it starts, to `count` cores, and return them.

    Other processes that call this get other cores until this one ends. If too few are free, as while one
    replica replaces another, some are shared.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"miles-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    mine = chosen_cores(count, sorted(os.sched_getaffinity(0)), folder)
    os.sched_setaffinity(0, mine)
    return mine


def chosen_cores(count: int, allowed: Sequence[int], folder: Path) -> list[int]:
    """Up to `count` neighbouring cores of `allowed`; locks in `folder` record which are taken."""
    count = min(count, len(allowed))
    groups = [list(allowed[first : first + count]) for first in range(0, len(allowed) - count + 1, count)]
    with (folder / "choosing").open("w") as choosing:
        fcntl.flock(choosing, fcntl.LOCK_EX)  # or two processes could each lock half of a group
        for group in groups:
            if _take([folder / str(core) for core in group]):
                return group
    return groups[os.getpid() % len(groups)]


_held: list[int] = []  # open files keep their locks until the process ends


def _take(paths: Sequence[Path]) -> bool:
    """Lock all of these files or none."""
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
