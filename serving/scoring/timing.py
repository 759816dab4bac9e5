"""The time that each step of a request takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Stage = Literal["queue", "download", "decode", "tokenise", "text", "image", "fusion", "explanation", "total"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class Stopwatch:
    """Seconds by stage of one request, and the towers whose vector was cached.

    Stages overlap: the picture is downloaded and decoded beside the text. `queue` is the sum of the waits
    for the towers and the fusion. `steps` has (stage, end by `time.perf_counter`, seconds) in order.
    """

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self.cached: list[str] = []
        self.steps: list[tuple[Stage, float, float]] = []
        self.started = time.perf_counter()

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the time within to `stage`, also after an error."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: Stage, seconds: float) -> None:
        """Add to `stage`."""
        self.seconds[stage] += seconds
        self.steps.append((stage, time.perf_counter(), seconds))

    def stop(self) -> None:
        """The total is the time since the stopwatch was made."""
        self.seconds["total"] = time.perf_counter() - self.started

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds by stage."""
        return {stage: round(seconds * 1000, 3) for stage, seconds in self.seconds.items()}

    def server_timing(self) -> str:
        """The value of a `Server-Timing` header (W3C Server Timing)."""
        entries = []
        for stage, milliseconds in self.milliseconds().items():
            cached = ';desc="cached"' if stage in self.cached else ""
            entries.append(f"{stage}{cached};dur={milliseconds:g}")
        return ", ".join(entries)
