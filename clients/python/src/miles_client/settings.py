"""Settings of the commands: the environment and `.env`."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DONE, ROWS_LEFT, WRONG_SETTING, NO_SERVICE, NO_DATABASE = range(5)
WAITS_S = (5.0, 15.0, 30.0, 60.0)  # a sleeping Space is up within one or two minutes


class SettingError(Exception):
    """A setting is wrong, here or on a server; the message says what to change."""


@contextmanager
def setting(name: str) -> Iterator[None]:
    """Turn a `ValueError` in the block into a `SettingError` that names the setting."""
    try:
        yield
    except ValueError as exc:
        raise SettingError(f"{name}: {exc}") from exc


def settings(environment: Mapping[str, str], files: Sequence[Path]) -> dict[str, str]:
    """The environment, then the first of the .env `files` that exists; empty values count as absent.

    Raises `SettingError` for a file that cannot be read.
    """
    found = {name: value.strip() for name, value in environment.items() if value.strip()}
    for path in files:
        if path.is_file():
            try:
                return read_env(path.read_text(encoding="utf-8-sig")) | found
            except UnicodeDecodeError as exc:
                raise SettingError(f"{path}: not UTF-8 ({exc.reason}); save it as UTF-8") from exc
            except OSError as exc:
                raise SettingError(f"{path}: {exc.strerror}") from exc
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


def positive(kind: type[int] | type[float]) -> Callable[[str], Any]:
    """Reads an argument that must be above 0."""

    def parse(text: str) -> int | float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError(text)
        return value

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def seconds(text: str) -> list[float]:
    """Reads an argument of several durations, separated by commas."""
    return [positive(float)(part) for part in text.split(",")]


def shown(text: Any, length: int = 60) -> str:
    """Anything as one short line without control characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in str("" if text is None else text))
    return line if len(line) <= length else line[: length - 1] + "…"
