"""Cores of its own for each scoring process of a machine: what stands beside it cannot take its turn.

Ray counts cores and binds nobody to any. A process that sees 64 cores starts 64 decoders, however few it was
given.
"""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO


def take_cores(count: int, folder: Path | None = None) -> list[int]:
    """Bind this thread, and what it starts from now on, to `count` cores that nobody else took so.

    They are free again when the process ends. Where all are taken, as while a replica replaces another one,
    the cores are shared. Returns them.
    """
    allowed = sorted(os.sched_getaffinity(0))
    count = min(count, len(allowed))
    groups = [allowed[first : first + count] for first in range(0, len(allowed) - count + 1, count)]
    folder = folder or Path(tempfile.gettempdir()) / f"miles-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    mine = next(
        (group for group in groups if _take(folder / f"{count}-{group[0]}")),
        groups[os.getpid() % len(groups)],
    )
    os.sched_setaffinity(0, mine)
    return mine


_held: list[IO[str]] = []  # a lock lasts as long as its file is open: to the end of the process


def _take(path: Path) -> bool:
    opened = path.open("w")
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        opened.close()
        return False
    _held.append(opened)
    return True
