"""Runs wrk, a load generator in C, with one thread and a fixed number of clients.

Each client sends its next request once it has its answer (a closed loop), after a pause if one is asked for.
wrk corrects its percentiles for the requests that a stalled client would have sent in the meantime.
"""

import json
import math
import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parent / "load.lua"
TIMEOUT_S = 60
MAX_S = 15
ANSWERS_PER_CLIENT = 2.5


class LoadError(Exception):
    """wrk did not run, or its output cannot be parsed."""


@dataclass(frozen=True, slots=True)
class Load:
    """What the clients saw: `requests` were answered, `failed` of them with an error or too late."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def throughput(self) -> float:
        return (self.requests - self.failed) / self.seconds


def enough_seconds(seconds: float, clients: int, one_client_ms: float) -> int:
    """How long to load a server whose answers take `one_client_ms`: at least two answers per client."""
    needed = ANSWERS_PER_CLIENT * clients * one_client_ms / 1000
    return math.ceil(max(seconds, min(needed, MAX_S)))


def run_load(url: str, bodies: Path, clients: int, seconds: int, think_ms: float = 0.0) -> Load:
    """Post the lines of `bodies` for `seconds`; each client pauses `think_ms` on average before a request.

    Raises `LoadError`.
    """
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s"]
    command += ["-s", str(SCRIPT), url, "--", str(bodies), f"{think_ms:.3f}"]
    try:
        done = subprocess.run(  # noqa: S603  a list, no shell
            command, capture_output=True, text=True, timeout=seconds + TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise LoadError(f"wrk: {exc}") from exc
    return parse_report(done.stdout)


def parse_report(output: str) -> Load:
    """Parse the last line, the JSON of load.lua. Raises `LoadError`."""
    try:
        values = json.loads(output.strip().splitlines()[-1])
        failed = values["bad_status"] + values["timeouts"] + values["broken"]
        latency = {name: values[name] for name in ("p50_ms", "p95_ms", "p99_ms")}
        return Load(requests=values["requests"], failed=failed, seconds=values["seconds"], **latency)
    except (IndexError, KeyError, TypeError, ValueError) as exc:
        raise LoadError(f"no JSON report at the end of wrk's output: {output[-200:]!r}") from exc
