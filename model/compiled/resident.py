"""Gives back the memory in which the engine's weights lie a second time.

OpenVINO maps a graph's file and copies its weights into the order that its kernels read. The mapped pages
stay resident, though little is read from them again: rows of the word vectors, and weights for shapes that
are new. Told so, Linux drops them, and brings back from the file a page that is touched after all.
"""

import ctypes
import mmap
from pathlib import Path

MAPS = Path("/proc/self/maps")


def let_go_of(directory: Path) -> None:
    """Drop the resident pages of every file in `directory` that this process has mapped to read."""
    if not MAPS.exists():  # no Linux, no such advice
        return
    libc, inside = ctypes.CDLL(None), f"{directory.resolve()}/"
    for line in MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        span, permissions, *rest = line.split(maxsplit=5)
        # Of a mapping that is private or may be written, the pages may be all that holds their values.
        if permissions == "r--s" and rest[-1].startswith(inside):
            start, end = (int(number, 16) for number in span.split("-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_DONTNEED)
