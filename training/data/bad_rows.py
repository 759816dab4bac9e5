"""What became of the rows that cannot be used: how many of each kind, and the first of each by number."""

from collections.abc import Iterator
from dataclasses import dataclass, field

SHOWN = 5  # rows of each kind that are told one by one
NUMBERED = 20  # and row numbers after those


@dataclass
class BadRows:
    """Faults by kind, which is the column at fault or a word for the whole row; a row counts once."""

    faults: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    """Cells that were empty and took what a request's null takes, by column."""

    def __len__(self) -> int:
        return sum(len(rows) for rows in self.faults.values())

    def add(self, kind: str, row: int, sentence: str) -> None:
        """Row number `row` is left out, and why."""
        self.faults.setdefault(kind, []).append((row, sentence))

    def counts(self) -> dict[str, int]:
        """How many rows were left out, by kind, the most frequent first."""
        ordered = sorted(self.faults.items(), key=lambda item: -len(item[1]))
        return {kind: len(rows) for kind, rows in ordered}

    def lines(self) -> Iterator[str]:
        """For people: each kind with its count, its first rows, and where the next are."""
        for kind, count in self.counts().items():
            rows = self.faults[kind]
            yield f"  {kind}: {count} {'row' if count == 1 else 'rows'}"
            for number, sentence in rows[:SHOWN]:
                yield f"    row {number}: {sentence}"
            more = [str(number) for number, _ in rows[SHOWN : SHOWN + NUMBERED]]
            if more:
                yield f"    and rows {', '.join(more)}" + ", ..." * (count > SHOWN + NUMBERED)

    def empty_line(self) -> str:
        """One sentence about empty cells; empty where there were none."""
        if not self.empty:
            return ""
        said = ", ".join(f"{count} of {name}" for name, count in sorted(self.empty.items()))
        return f"empty cells are what null is in a request (0; 30 s; no time): {said}"
