"""Stopping on a signal: at once while waiting, after the current write while writing."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """SIGINT or SIGTERM arrived while nothing was being written."""


class StopSignals:
    """Makes SIGINT and SIGTERM stop the run between two writes; a second signal stops it at once."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._waiting = False
        self._wake = threading.Event()

    def install(self) -> None:
        """Register the handlers."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        signal.signal(number, signal.SIG_DFL)
        if self._waiting:
            raise Stopped

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal may end with `Stopped`."""
        self._waiting = True
        try:
            if self.number:
                raise Stopped
            yield
        finally:
            self._waiting = False

    def sleep(self, seconds: float) -> None:
        """Wait, or raise `Stopped`."""
        with self.interruptible():
            self._wake.wait(seconds)
