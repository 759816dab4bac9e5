"""`OUTPUT.part`, which holds finished rows until all are."""

import csv
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from miles_client.settings import SettingError


class Finished:
    """`OUTPUT.part`: the first line identifies the job, each other line holds a finished row's results."""

    def __init__(self, path: Path, purpose: Mapping[str, Any]) -> None:
        self.path, first = path, json.dumps(purpose, sort_keys=True).encode() + b"\n"
        if not path.exists():
            path.write_bytes(first)
        with path.open("r+b") as opened:
            if opened.readline() != first:
                raise SettingError(
                    f"{path} belongs to another input or to other options: remove it to start over"
                )
            whole = len(first)
            self.count = 0
            for line in opened:
                if line.endswith(b"\n"):  # the last one may have been cut off
                    whole += len(line)
                    self.count += 1
            opened.truncate(whole)

    def add(self, results: Iterable[Sequence[str]]) -> None:
        """Append finished rows; they are on disk when this returns."""
        with self.path.open("a", encoding="utf-8", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows(results)
            opened.flush()
            os.fsync(opened.fileno())

    def results(self) -> Iterator[list[str]]:
        """All of them, in the input's order."""
        with self.path.open(encoding="utf-8", newline="") as opened:
            yield from itertools.islice(csv.reader(opened), 1, None)


def sha256_of(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
