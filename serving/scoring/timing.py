"""Where one request's time went.

Download, decode and image tower run beside tokenising and the text tower, so the stages of a request add up
to more than its total. `queue` is the sum of its waits for the towers and the fusion to be free.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Stage = Literal["queue", "download", "decode", "tokenise", "text", "image", "fusion", "explanation", "total"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class Stopwatch:
    """Seconds by stage for one request, and the towers whose vector was known already.

    `steps` are the same as they happened: stage, when it ended (`time.perf_counter`) and its seconds.
    """

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self.cached: list[str] = []
        self.steps: list[tuple[Stage, float, float]] = []
        self.started = time.perf_counter()

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the time spent within to `stage`, however it ends."""
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
        """The request is answered: everything since the stopwatch was made is its total."""
        self.seconds["total"] = time.perf_counter() - self.started

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds by stage, for people and programs."""
        return {stage: round(seconds * 1000, 3) for stage, seconds in self.seconds.items()}

    def server_timing(self) -> str:
        """The `Server-Timing` header, which browsers show beside the request (W3C Server Timing)."""
        entries = []
        for stage, milliseconds in self.milliseconds().items():
            cached = ';desc="cached"' if stage in self.cached else ""
            entries.append(f"{stage}{cached};dur={milliseconds:g}")
        return ", ".join(entries)
