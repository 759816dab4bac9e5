"""A progress bar on a terminal."""

import os
import shutil
from typing import TextIO

CLEAR = "\r\x1b[K"
WIDTH, MIN_WIDTH = 30, 5


def can_redraw(stream: TextIO) -> bool:
    """Whether a line of this stream can be drawn over."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def bar(done: int, total: int, text: str) -> str:
    """A bar before `text`, in place of the line that is there; as narrow as the terminal."""
    columns = shutil.get_terminal_size().columns - 1
    width = min(WIDTH, columns - len(text) - 3)
    filled = width * done // max(total, 1)
    drawn = f"[{'#' * filled}{'.' * (width - filled)}] " if width >= MIN_WIDTH else ""
    return CLEAR + (drawn + text)[:columns]
