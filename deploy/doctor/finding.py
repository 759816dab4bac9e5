"""One thing that the doctor looked at, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass

# As it should be; works, but worth knowing; optional and not there; keeps `make serve` from running.
OK, NOTE, ABSENT, FAULT = "ok", "note", "absent", "fault"
GIGABYTE = 1024**3


@dataclass(frozen=True)
class Finding:
    """What was looked at, one of the four states above, a sentence, and what helps where something does."""

    name: str
    state: str
    says: str
    remedy: str = ""


def size(count: int | None) -> str:
    """Bytes for people; `unknown` where nobody could tell."""
    return "unknown" if count is None else f"{count / GIGABYTE:.1f} GiB"
