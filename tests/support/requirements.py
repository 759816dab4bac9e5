"""Reads requirements files as pip does."""

import os
from collections.abc import Iterator
from pathlib import Path


def closure(path: Path) -> list[Path]:
    """`path` and every requirements or constraints file that it includes, each once, itself first."""
    found = [path]
    for line in _lines(path):
        option, _, target = line.partition(" ")
        if option in ("-r", "-c"):
            found += [file for file in closure(_beside(path, target)) if file not in found]
    return found


def pins(path: Path) -> Iterator[str]:
    """Every `name==version` that installing `path` installs, without constraints."""
    for line in _lines(path):
        option, _, target = line.partition(" ")
        if option == "-r":
            yield from pins(_beside(path, target))
        elif not option.startswith("-"):
            yield line


def _beside(path: Path, target: str) -> Path:
    return Path(os.path.normpath(path.parent / target.strip()))


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if stripped := line.partition("#")[0].strip():
            yield stripped
