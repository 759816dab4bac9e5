"""The report of one run: which promises were measured, what was reached, and whether that is enough."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pytest

Promises = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: a part of a promise, and the figure that was reached."""

    promise: str
    wanted: str
    reached: str
    kept: bool


class Ledger:
    """Collects rows; `promises` are the known ones, each with the parts that prove it."""

    def __init__(self, promises: Promises) -> None:
        self._promises = promises
        self.rows: list[Row] = []

    def record(self, name: str, *, wanted: str | None = None, figure: str, kept: bool) -> None:
        """Record one row, then fail if it is missed. `wanted` may be omitted if there is only one part.

        Raises `KeyError` for an unknown promise or part.
        """
        parts = self._promises.get(name, ())
        part = parts[0] if wanted is None and len(parts) == 1 else wanted
        if part not in parts:
            raise KeyError(f"{name!r}, {wanted!r}: unknown promise; add it to tests/hostile/promises.py")
        assert part is not None, "parts are texts"
        self.rows.append(Row(name, part, figure, kept))
        assert kept, f"{name}: wanted {part}; reached {figure}"

    @property
    def unmeasured(self) -> list[Row]:
        measured = {(row.promise, row.wanted) for row in self.rows}
        return [
            Row(name, part, "not measured", False)
            for name, parts in self._promises.items()
            for part in parts
            if (name, part) not in measured
        ]

    def table(self, *, whole: bool) -> str:
        """The rows as a table, in the promises' order; after a whole run the unmeasured ones too."""
        order = list(self._promises)
        rows = sorted(self._account(whole), key=lambda row: order.index(row.promise))
        cells = [("promise", "wanted", "reached", "kept")]
        cells += [(row.promise, row.wanted, row.reached, "yes" if row.kept else "NO") for row in rows]
        widths = [max(len(line[column]) for line in cells) for column in range(4)]
        lines = [" | ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
        return "\n".join([lines[0], " | ".join("-" * width for width in widths), *lines[1:]])

    def verdict(self, *, whole: bool, status: int) -> str:
        """The same as one line of JSON; `status` is pytest's."""
        rows = self._account(whole)
        kept = not status and all(row.kept for row in rows)
        return json.dumps({"kept": kept, "whole": whole, "promises": [asdict(row) for row in rows]})

    def kept(self, *, whole: bool) -> bool:
        """Whether every row is kept and, after a whole run, none is missing."""
        return all(row.kept for row in self._account(whole))

    def _account(self, whole: bool) -> list[Row]:
        return [*self.rows, *(self.unmeasured if whole else ())]


LEDGER = pytest.StashKey[Ledger]()
