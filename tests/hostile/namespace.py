"""Runs a scenario in network and mount namespaces of its own, so that the fetcher needs no exceptions.

There the public-looking 9.9.9.0/24 is this machine, ports 80 and 443 are free, and /etc/resolv.conf names the
test's own server; nothing reaches the outside. A scenario is a module's asynchronous function without
arguments; its result comes back as JSON. It runs on uvloop, as the service does.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.house import ROOT

Scenario = Callable[[], Awaitable[Any]]
NAME_SERVER = "9.9.9.53"
SEARCHED = "internal.example"
# Addresses that must never be asked are given to this machine too, so that asking them would succeed.
ADDRESSES = ("9.9.9.9/24", "10.0.0.1/8", "169.254.169.254/32", "2620:fe::fe/128", "fd00::1/128")
PROBE = "ip link set lo up && mount --bind /etc/hosts /etc/hosts"
FLAGS = (("--net", "--mount"), ("--user", "--map-root-user", "--net", "--mount"))


@cache
def _unshare() -> tuple[str, ...] | None:
    """The command that can create the namespaces here, or None."""
    for flags in FLAGS:
        command = ("unshare", *flags)
        try:
            subprocess.run([*command, "sh", "-c", PROBE], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return None


def in_namespace(scenario: Scenario, limit_s: float = 120) -> Any:
    """The result of a scenario; skips the test where namespaces are not permitted."""
    command = _unshare()
    if command is None:
        pytest.skip(
            "network namespaces are not permitted here; needs unshare and ip, as root or with user namespaces"
        )
    ended = subprocess.run(
        [*command, sys.executable, "-W", "error", "-m", __name__, scenario.__module__, scenario.__name__],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    if ended.returncode:
        raise AssertionError(f"{scenario.__name__} ended with {ended.returncode}:\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def set_up() -> None:
    """Give this machine its addresses and its resolver; only ever called inside the namespaces."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ADDRESSES:
        # Where IPv6 is off, its addresses are missing, and nothing can reach them either.
        subprocess.run(["ip", "addr", "add", address, "dev", "lo"], check="." in address, capture_output=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (
            ("resolv.conf", f"nameserver {NAME_SERVER}\nsearch {SEARCHED}\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
            ("hosts", "127.0.0.1 localhost\n"),
        ):
            file = Path(folder, name)
            file.write_text(text)
            if Path("/etc", name).exists():
                subprocess.run(["mount", "--bind", file, f"/etc/{name}"], check=True)


def opened_connections() -> int:
    """How many TCP connections this namespace has begun, by the kernel's own count."""
    return _counter("Tcp", "ActiveOpens")


def sent_datagrams() -> int:
    """How many UDP datagrams this namespace has sent, by the kernel's own count."""
    return _counter("Udp", "OutDatagrams")


def _counter(protocol: str, name: str) -> int:
    rows = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
    names, values = (row for row in rows if row[0] == f"{protocol}:")
    return int(values[names.index(name)])


def main(module: str, name: str) -> None:
    set_up()
    os.environ.pop("RES_OPTIONS", None)  # the operator's, if there were any; the fetcher sets its own
    scenario: Callable[[], Any] = getattr(importlib.import_module(module), name)
    print(json.dumps(uvloop.run(scenario())))


if __name__ == "__main__":
    main(*sys.argv[1:])
