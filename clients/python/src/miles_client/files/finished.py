"""`OUTPUT.part`, which holds finished rows until all rows are finished."""

import csv
import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

from miles_client.settings import SettingError


class Finished:
    """`OUTPUT.part`: the first line identifies the job, each other line holds a finished row's results.

    It is locked until the block ends. Raises `SettingError` if it is another job's or another run holds it.
    """

    def __init__(self, path: Path, purpose: Mapping[str, Any]) -> None:
        self.path, first = path, json.dumps(purpose, sort_keys=True).encode() + b"\n"
        self._lock = _locked(path)
        try:
            self.count = self._continued(first)
        except SettingError:
            self._lock.close()
            raise

    def _continued(self, first: bytes) -> int:
        """The number of finished rows; cuts off an incomplete last row."""
        if not self.path.stat().st_size:
            self.path.write_bytes(first)
        with self.path.open("r+b") as opened:
            if opened.readline() != first:
                raise SettingError(
                    f"{self.path} belongs to another input or to other options: remove it to start over"
                )
            count, whole = 0, len(first)
            for line in opened:
                if line.endswith(b"\n"):  # the last one may have been cut off
                    count, whole = count + 1, whole + len(line)
            opened.truncate(whole)
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def add(self, results: Iterable[Sequence[str]]) -> None:
        """Append finished rows; they are on disk when this returns."""
        with _named(self.path), self.path.open("a", encoding="utf-8", newline="") as opened:
            csv.writer(opened, lineterminator="\n").writerows(results)
            opened.flush()
            os.fsync(opened.fileno())

    def results(self) -> Iterator[list[str]]:
        """All results, in the input's order."""
        with self.path.open(encoding="utf-8", newline="") as opened:
            yield from itertools.islice(csv.reader(opened), 1, None)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an `OSError` in the block into an error that names the file and the next step."""
    try:
        yield
    except OSError as exc:
        raise SettingError(
            f"{exc.filename or path}: {exc.strerror or exc}; finished rows are kept: run the command again "
            "once this is fixed"
        ) from exc


@contextmanager
def whole_or_removed(path: Path) -> Iterator[None]:
    """A block that writes this file; the file is removed if the block fails."""
    try:
        with _named(path):
            yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _locked(path: Path) -> IO[bytes]:
    """The file, locked while it is open."""
    opened = path.open("ab")
    try:
        import fcntl  # not on Windows

        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        opened.close()
        raise SettingError(f"{path}: another run is writing it; choose another output") from exc
    except (ImportError, OSError):
        pass  # a system or a file system without locks
    return opened


def sha256_of(path: Path) -> str:
    """The file's SHA-256."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
