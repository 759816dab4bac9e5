"""Columns of a training file that look like a field under another name, as options to add to the command."""

import shlex
from collections.abc import Collection, Iterable
from pathlib import Path

from features.near_names import WORDS, field_like


def near_columns(columns: Iterable[str], known: Collection[str], used: Collection[str]) -> list[str]:
    """`FIELD=COLUMN` for each field that is not `known`, if a column that is not `used` has a near name."""
    found: dict[str, str] = {}
    for column in columns:
        field = field_like(column)
        if field is not None and field not in known and column not in used:
            found.setdefault(field, column)
    if "title" not in known and "title" not in found and "description" in found:
        found["title"] = found.pop("description")  # a video's only text is its title
    return [f"{field}={found[field]}" for field in WORDS if field in found]


def command(path: Path, mapping: Iterable[str]) -> str:
    """The command that reads the columns of a mapping."""
    return " ".join(
        ["./miles train", shlex.quote(str(path)), *(f"--column {shlex.quote(m)}" for m in mapping)]
    )
