"""Each peer at its best: its throughput for every size of batches and number of workers, in short runs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from benchmarks.harness.contestants import Contestant, StartError, running
from benchmarks.harness.load import LoadError
from benchmarks.harness.measuring import CLIENTS, COLD_VIDEOS_PER_S, DEFAULT, Settings, Sweep, sample
from benchmarks.harness.processes import ProcessTree
from benchmarks.harness.workload import Workload

BATCHES = (8, 16, 32)
WORKERS = (1, 2)
MANY = CLIENTS[-1]


class Sweeper:
    """Measures servers one after another with many clients and new videos."""

    def __init__(
        self, folder: Path, host: ProcessTree, workload: Workload, seconds: int, say: Callable[[str], None]
    ) -> None:
        self._folder, self._host, self._workload = folder, host, workload
        self._seconds, self._say = seconds, say

    def run(self, contestants: Sequence[Contestant]) -> Sweep:
        """Every swept contestant with all settings, and Miles beside them; what fails has no figure."""
        sweep = Sweep()
        for contestant in contestants:
            settings = list(product(BATCHES, WORKERS)) if contestant.is_swept else [DEFAULT]
            if contestant.is_swept or contestant.takes_batches:
                rates = {each: self._rate(contestant.changed(*each), each) for each in settings}
                sweep.rates[contestant.name] = {each: rate for each, rate in rates.items() if rate}
        return sweep

    def _rate(self, contestant: Contestant, settings: Settings) -> float:
        what = f"{contestant.name}, batches of {settings[0]}, {settings[1]} workers"
        with ExitStack() as stack:
            try:
                first = self._workload.new_videos(1)[0]
                server = stack.enter_context(running(contestant, self._folder, first))
                for video in self._workload.new_videos(2):
                    server.predict(video)
                videos = self._workload.new_videos(COLD_VIDEOS_PER_S * self._seconds)
                found = sample(server, self._host, videos, MANY, self._seconds)
            except (StartError, LoadError, OSError, ValueError) as exc:
                self._say(f"{what}: {exc}")
                return 0.0
        self._say(f"{what}: {found.load.throughput:.1f} a second")
        return found.load.throughput
