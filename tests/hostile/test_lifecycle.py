"""The end of the process under load, and a machine that fails around it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.hostile.conftest import Record
from tests.hostile.crowd import Visitor, request
from tests.support.service import ROOT, Service, environment, free_port, ready_service, wait_for
from tests.support.thumbnail_host import thumbnail_host

pytestmark = [pytest.mark.hostile, pytest.mark.anyio]
BROKEN = (OSError, asyncio.IncompleteReadError)


async def work(service: Service, statuses: Counter[str]) -> None:
    """A client that asks until the service is gone; an answer that breaks off counts as `no answer`."""
    async with Visitor(service) as visitor:
        while True:
            message = request({})
            try:
                await visitor.send(message)
            except OSError:
                return  # the connection was not accepted, so no request was
            try:
                answer = await visitor.ask(b"")
            except BROKEN:
                statuses["no answer"] += 1
                return
            statuses[str(answer.status)] += 1
            visitor.leave()  # a connection for each: an idle one may be closed while a request is on its way


async def test_sigterm_under_load(demo_bundle: Path, tmp_path: Path, promise: Record) -> None:
    with ready_service(tmp_path / "log", checkpoint=demo_bundle) as service:
        statuses: Counter[str] = Counter()
        clients = [asyncio.create_task(work(service, statuses)) for _ in range(200)]
        await asyncio.sleep(5)
        started = time.perf_counter()
        service.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(service.process.wait, 60)
        seconds = time.perf_counter() - started
        await asyncio.gather(*clients)
        lines = [json.loads(line) for line in service.log.read_text().splitlines() if '"request"' in line]
    taken = Counter(str(line["status"]) for line in lines if line.get("route") == "/predict")
    answered = Counter({status: n for status, n in statuses.items() if status != "no answer"})
    promise(
        "SIGTERM under load",
        figure=f"took {dict(taken)}, clients have {dict(statuses)}; exit {code} after {seconds:.1f} s",
        # A connection that was queued by the system but never accepted is closed; its client has no answer.
        kept=taken == answered and taken.keys() <= {"200", "503"} and code == 0 and seconds < 25,
    )


def test_killed_and_started_again(demo_bundle: Path, tmp_path: Path, promise: Record) -> None:
    port = free_port()
    with ready_service(tmp_path / "first", checkpoint=demo_bundle, port=port) as service:
        children = subprocess.run(
            ["pgrep", "-P", str(service.process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        service.process.kill()
        service.process.wait()
    started = time.perf_counter()
    with ready_service(tmp_path / "second", checkpoint=demo_bundle, port=port) as service:
        seconds = time.perf_counter() - started
        answer = httpx.post(f"{service.url}/predict", json={"title": "again"}, timeout=60)
    left = [child for child in children if Path(f"/proc/{child}").exists()]
    promise(
        "SIGKILL",
        figure=f"ready again on the same port after {seconds:.1f} s, {answer.status_code}; "
        f"{len(left)} of {len(children)} decoders left behind",
        kept=answer.status_code == 200 and not left and len(children) > 0,
    )


@contextmanager
def in_shell(log: Path, before: str, run: str = "", **settings: object) -> Iterator[Service]:
    """`python app.py` after shell commands, in its own mount namespace; `run` precedes it on its line."""
    port = free_port()
    command = f"{before}; exec {run} {sys.executable} app.py"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-ec", command],
            cwd=ROOT,
            env=environment(host="127.0.0.1", port=port, **settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    service = Service(f"http://127.0.0.1:{port}", process, log)
    try:
        yield service
    finally:
        process.terminate()
        process.wait(40)


def outcome(service: Service, pictures: Sequence[str]) -> str:
    """Statuses and what became of the pictures, as one word for each request."""
    words = []
    for url in pictures:
        answer = httpx.post(f"{service.url}/predict", json={"title": "x", "thumbnail_url": url}, timeout=60)
        image = answer.json().get("modalities", {}).get("image", {})
        words.append(f"{answer.status_code} {image.get('reason') or image.get('state')}")
    return ", ".join(words)


# A clone below /tmp must not be hidden by what is mounted there.
SCRATCH = "/var/tmp" if ROOT.is_relative_to("/tmp") else "/tmp"  # noqa: S108 it is mounted over, not written to
FILL = f"dd if=/dev/zero of={SCRATCH}/fill bs=1k 2>/dev/null || true"
MACHINES = {
    "disk full": f"mount -t tmpfs -o size=16k none {SCRATCH}; {FILL}",
    "read-only": f"mount -t tmpfs -o ro none {SCRATCH}",
    "no name server": "echo 'nameserver 127.0.0.1' > {file}; mount --bind {file} /etc/resolv.conf",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_machine_that_fails(demo_bundle: Path, tmp_path: Path, promise: Record) -> None:
    seen: dict[str, str] = {}
    trust = "127.0.0.0/8"
    with thumbnail_host() as host:
        for name, before in MACHINES.items():
            words = before.replace("{file}", str(tmp_path / "resolv.conf"))
            log = tmp_path / f"{name}.log"
            with in_shell(log, words, checkpoint=demo_bundle, thumbnail_trusted_networks=trust) as service:
                wait_for(service, "/health/ready")
                seen[name] = outcome(service, [host.thumbnail(), "http://name.example/x.jpg"])
    promise(
        "a machine that fails",
        wanted="disk full, read-only, no name server: it starts, scores and uses pictures",
        figure="; ".join(f"{name}: {words}" for name, words in seen.items()),
        kept=seen == dict.fromkeys(MACHINES, "200 used, 200 unreachable"),
    )


async def test_no_descriptors_left(demo_bundle: Path, tmp_path: Path, promise: Record) -> None:
    settings = {
        "checkpoint": demo_bundle,
        "receive_timeout_s": 3,
        "thumbnail_trusted_networks": "127.0.0.0/8",
    }
    with in_shell(tmp_path / "log", "ulimit -n 64", **settings) as service, thumbnail_host() as host:
        await asyncio.to_thread(wait_for, service, "/health/ready")
        async with Visitor(service) as first:
            await first.get("/")
            silent = [Visitor(service) for _ in range(100)]
            await asyncio.gather(*(visitor.send(b"") for visitor in silent), return_exceptions=True)
            answer = await first.score(thumbnail_url=host.thumbnail(3))
        await asyncio.sleep(5)
        async with Visitor(service) as later:
            after = (await later.get("/")).status
        for visitor in silent:
            visitor.leave()
        code = await asyncio.to_thread(service.stop)
    state = json.loads(answer.body)["modalities"]["image"]["state"]
    promise(
        "a machine that fails",
        wanted="64 descriptors: 100 silent connections leave room for others and their pictures",
        figure=f"meanwhile {answer.status}, picture {state}; then {after}; exit {code}",
        kept=(answer.status, state, after, code) == (200, "used", 200, 0),
    )
