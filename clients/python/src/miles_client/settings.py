"""Settings of the commands: the environment and `.env`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

DONE, ROWS_LEFT, WRONG_SETTING, NO_SERVICE, NO_DATABASE = range(5)
WAITS_S = (5.0, 15.0, 30.0, 60.0)  # a sleeping Space is up within one or two minutes


class SettingError(Exception):
    """A setting is wrong, here or on the other side; the message says what to change."""


def settings(environment: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """The environment, then the first of the .env `files` that exists; empty values count as absent."""
    found = {name: value.strip() for name, value in environment.items() if value.strip()}
    for path in files:
        if path.is_file():
            return read_env(path.read_text(encoding="utf-8-sig")) | found
    return found


def read_env(text: str) -> dict[str, str]:
    """Parse NAME=value lines, with or without `export` and quotes; `#` begins a comment."""
    values = {}
    for line in text.splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        value = value.strip()
        if not separator or name.startswith("#"):
            continue
        if value[:1] in ("'", '"') and value[0] in value[1:]:
            value = value[1 : value.index(value[0], 1)]
        else:
            value = value.partition(" #")[0].strip()
        if value:
            values[name.strip()] = value
    return values


def shown(text: Any, length: int = 60) -> str:
    """Anything as one short line without control characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in str("" if text is None else text))
    return line if len(line) <= length else line[: length - 1] + "…"
