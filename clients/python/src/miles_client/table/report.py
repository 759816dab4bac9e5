"""The output of a run: a progress bar on a terminal, one line per row elsewhere."""

import sys

from miles_client.service import Row, Score
from miles_client.settings import shown
from miles_client.terminal import CLEAR, bar, can_redraw


class Report:
    """The output: a progress bar on a terminal, one line per row elsewhere."""

    def __init__(self, verb: str = "scored") -> None:
        self._verb, self._is_terminal = verb, can_redraw(sys.stdout)
        self._total = self._done = 0
        self._said: dict[str, str] = {}

    def start(self, total: int) -> None:
        """A run of at most `total` rows begins."""
        self._total, self._done = total, 0
        self._draw()

    def scored(self, row: Row, score: Score) -> None:
        """A row has its score."""
        self._done += 1
        if not self._is_terminal:
            figures = f"{score.viral_score:.6f}  {score.predicted_velocity:12.2f} views/day"
            image = f"  [thumbnail: {score.unusable_image}]" if score.unusable_image else ""
            self.line(f"{self._verb}  {shown(row['id'])}  {figures}  {shown(row.get('title'))}{image}")
        self._draw()

    def left(self, row: Row, reason: str) -> None:
        """A row was skipped; printed once per reason, even with --watch."""
        if self._said.get(row["id"]) != reason:
            self._said[row["id"]] = reason
            self.line(f"skipped {shown(row['id'])}  {reason}  {shown(row.get('title'))}")
        self._draw()

    def note(self, sentence: str) -> None:
        """A line about the run as a whole."""
        self.line(sentence)
        self._draw()

    def once(self, sentence: str) -> None:
        """A note that is printed once, even with --watch."""
        if sentence not in self._said:
            self._said[sentence] = ""
            self.note(sentence)

    def line(self, text: str) -> None:
        """A line without the bar after it, such as the summary."""
        print((CLEAR if self._is_terminal else "") + text, flush=True)

    def _draw(self) -> None:
        if self._is_terminal and self._total:
            print(bar(self._done, self._total, f"{self._done}/{self._total}"), end="", flush=True)
