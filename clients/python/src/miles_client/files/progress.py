"""Progress and remaining time: a bar on a terminal, an occasional line elsewhere."""

import sys
import time

from miles_client.terminal import CLEAR, bar, can_redraw

PROGRESS_INTERVAL_S = 5.0  # between progress lines when there is no terminal


class Progress:
    """Progress and remaining time: a bar on a terminal, an occasional line elsewhere."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done, self._first = total, done, done
        self._is_terminal = can_redraw(sys.stderr)
        self._begun = self._said = time.monotonic()
        if done:
            self.note(f"{done} of {total} rows were already finished")

    def advance(self, rows: int) -> None:
        """Add finished rows."""
        self._done += rows
        now = time.monotonic()
        if self._is_terminal or now - self._said >= PROGRESS_INTERVAL_S:
            self._said = now
            rate = (self._done - self._first) / max(now - self._begun, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            text = (
                f"{self._done}/{self._total} rows, {rate:.1f}/s, {left // 60:.0f} min {left % 60:.0f} s left"
            )
            drawn = bar(self._done, self._total, text) if self._is_terminal else text
            print(drawn, end="" if self._is_terminal else "\n", file=sys.stderr, flush=True)

    def note(self, sentence: str) -> None:
        """Print a line."""
        print((CLEAR if self._is_terminal else "") + sentence, file=sys.stderr, flush=True)
