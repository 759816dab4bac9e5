"""Checks what a machine has for Miles, what is missing and how to get it: `make doctor`.

Runs before `.venv` exists, on Python 3.9 or newer, with the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

# As expected; works, with a remark; optional and missing; prevents `make serve`.
OK, NOTE, ABSENT, FAULT = "ok", "note", "absent", "fault"
GIGABYTE = 1024**3


@dataclass(frozen=True)
class Finding:
    """The result of a check: name, one of the four states, a sentence, and the next step if any."""

    name: str
    state: str
    says: str
    remedy: str = ""


def size(count: int | None) -> str:
    """A number of bytes in GiB, or `unknown`."""
    return "unknown" if count is None else f"{count / GIGABYTE:.1f} GiB"
