"""A progress bar with rate and remaining time, on stderr; lines now and then where nobody watches."""

import sys
from typing import Any

from tqdm import tqdm

WATCHED_S, LOGGED_S = 0.2, 15.0


def progress(total: int, what: str, unit: str, done: int = 0) -> "tqdm[Any]":
    """A bar over `total`, of which `done` were done before; the rate counts what is done now."""
    watched = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=f" {unit}",
        file=sys.stderr,
        mininterval=WATCHED_S if watched else LOGGED_S,
        dynamic_ncols=watched,
    )
