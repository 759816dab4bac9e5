"""How far the latest requests are from the rows that the model was trained on.

A request only leaves its row here; bins are counted when somebody asks. Knows no metrics.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from features import Distribution

# 0.6 MB for 18 features, and the last hours of a small service.
WINDOW_ROWS = 4096
# With B bins an unchanged input shows (B - 1) / rows on average: 0.02 here for eleven bins, against the 0.1
# from which on a change is worth a look.
FEWEST_ROWS = 500
SCORE = "viral_score"


class DriftWindow:
    """Features and scores of the last `WINDOW_ROWS` scored videos beside their training distributions."""

    def __init__(self, names: tuple[str, ...], distributions: Mapping[str, Distribution]) -> None:
        """`names` are a row's columns; what has no distribution is not watched."""
        columns = {name: column for column, name in enumerate((*names, SCORE))}
        self._watched = {name: (columns[name], known) for name, known in distributions.items()}
        # By columns, as they are counted: (WINDOW_ROWS, F + 1).
        self._rows = np.empty((WINDOW_ROWS if distributions else 0, len(columns)), order="F")
        self._seen = 0

    def observe(self, raw: NDArray[np.float64], score: float) -> None:
        """Take in one scored video: its raw features (F,), NaN where it does not say, and its score."""
        if not self._watched:
            return
        row = self._rows[self._seen % WINDOW_ROWS]
        row[:-1] = raw
        row[-1] = score
        self._seen += 1

    @property
    def rows(self) -> int:
        """Scored videos in the window."""
        return min(self._seen, len(self._rows))

    def stability(self) -> dict[str, float]:
        """The population stability index by feature, and of the score; empty before `FEWEST_ROWS`."""
        if self.rows < FEWEST_ROWS:
            return {}
        rows = self._rows[: self.rows]
        return {
            name: known.stability_index(known.count(rows[:, column]))
            for name, (column, known) in self._watched.items()
        }
