"""The load: wrk, a load generator in C, with one thread and a fixed number of clients.

Each client sends its next request when it has its answer (a closed loop). wrk adds to its percentiles the
requests that a stalled client would have sent meanwhile, so that a stall is not hidden by its own silence.
"""

import json
import math
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"
TIMEOUT_S = 60
LONGEST_S = 15
ANSWERS_PER_CLIENT = 2.5


class LoadError(Exception):
    """wrk did not run, or what it said is no report."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients saw. Of `requests`, which were answered, `failed` had no good answer."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return (self.requests - self.failed) / self.seconds


def enough_seconds(seconds: float, clients: int, one_client_ms: float) -> int:
    """How long to load a server whose answers take `one_client_ms`: long enough for two to every client."""
    needed = ANSWERS_PER_CLIENT * clients * one_client_ms / 1000
    return math.ceil(max(seconds, min(needed, LONGEST_S)))


def run_load(url: str, bodies: Path, clients: int, seconds: int) -> Load:
    """Post the lines of `bodies` for so long. Raises `LoadError`."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s"]
    command += ["-s", str(SCRIPT), url, "--", str(bodies)]
    try:
        done = subprocess.run(  # noqa: S603  a list, no shell
            command, capture_output=True, text=True, timeout=seconds + TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise LoadError(f"wrk: {exc}") from exc
    return parse_report(done.stdout)


def parse_report(output: str) -> Load:
    """The line of JSON that load.lua writes last. Raises `LoadError`."""
    try:
        values = json.loads(output.strip().splitlines()[-1])
        failed = values["bad_status"] + values["timeouts"] + values["broken"]
        latency = {name: values[name] for name in ("p50_ms", "p95_ms", "p99_ms")}
        return Load(requests=values["requests"], failed=failed, seconds=values["seconds"], **latency)
    except (IndexError, KeyError, TypeError, ValueError) as exc:
        raise LoadError(f"no report in wrk's output: {output[-200:]!r}") from exc
