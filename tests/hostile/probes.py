"""Asks /health/live from a process of its own, so that a test's own work does not count as the service's.

Run as a script with a port, it asks until its standard input ends, then prints the answer times in seconds.
"""

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from tests.hostile.crowd import percentile
from tests.support.service import ROOT, Service

PAUSE_S = 0.01
PROBE = b"GET /health/live HTTP/1.1\r\nHost: miles\r\n\r\n"


@contextmanager
def probed(service: Service) -> Iterator[list[float]]:
    """A list that holds the answer times of all probes, in seconds, once the block has ended."""
    times: list[float] = []
    command = [sys.executable, "-m", __name__, service.url.rsplit(":", 1)[1]]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asking:
        assert asking.stdout is not None, "a pipe"
        asking.stdout.readline()  # it asks from now on
        yield times
        answers, _ = asking.communicate()
    times += json.loads(answers)


def slowest(times: Mapping[str, Sequence[float]], module: str) -> tuple[float, str]:
    """The largest p99 of the answer times during a module's tests, in seconds, and the figure to print."""
    own = {
        name.partition("::")[2]: percentile(list(each), 0.99)
        for name, each in times.items()
        if module in name and each
    }
    worst = max(own, key=lambda name: own[name])
    return own[worst], f"{len(own)} tests: {1000 * own[worst]:.0f} ms at most, during {worst}"


def ask_until_told(port: int) -> list[float]:
    """The seconds of each answer; a connection that was closed is opened again."""
    times: list[float] = []
    connection = socket.create_connection(("127.0.0.1", port))
    print("asking", flush=True)
    while not select.select([sys.stdin], [], [], PAUSE_S)[0]:
        started = time.perf_counter()
        connection.sendall(PROBE)
        if connection.recv(65_536):
            times.append(time.perf_counter() - started)
        else:
            connection = socket.create_connection(("127.0.0.1", port))
    return times


if __name__ == "__main__":
    print(json.dumps(ask_until_told(int(sys.argv[1]))))
