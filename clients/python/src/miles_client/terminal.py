"""The two streams that a command writes to, and a progress bar on a terminal."""

import io
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

CLEAR = "\r\x1b[K"
WIDTH, MIN_WIDTH = 30, 5


def prepare_output() -> None:
    """Replace closed streams with the null device, and escape characters that a stream's encoding lacks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  for the whole run
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def give_up_output() -> None:
    """Drop output that could not be written: the interpreter would try again at exit, and fail."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            try:
                stream.flush()
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def can_redraw(stream: TextIO) -> bool:
    """Whether a line of this stream can be redrawn."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def bar(done: int, total: int, text: str) -> str:
    """A bar before `text` that replaces the current line; no wider than the terminal."""
    columns = shutil.get_terminal_size().columns - 1
    width = min(WIDTH, columns - len(text) - 3)
    filled = width * done // max(total, 1)
    drawn = f"[{'#' * filled}{'.' * (width - filled)}] " if width >= MIN_WIDTH else ""
    return CLEAR + (drawn + text)[:columns]
