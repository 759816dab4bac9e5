"""What surrounds the process: clocks, locales, users, memory, disks, signals and busy processors."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.hostile.conftest import Record
from tests.hostile.test_lifecycle import in_shell
from tests.support.process import LIMIT_S, until
from tests.support.service import Service, ready_service, started_service, wait_for
from tests.support.tiny import write_tiny

pytestmark = pytest.mark.hostile
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and control groups need root")
MEBIBYTE = 1024 * 1024
DAY_S = 86_400
JUMPS = {"two days ahead": 2 * DAY_S, "a year back": -365 * DAY_S, "to 2060": 12_500 * DAY_S}
# Shifts the time of day by the seconds in the file $CLOCK; the monotonic clock is unchanged.
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static long *shift;
__attribute__((constructor)) static void open_clock(void) {
  shift = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, open(getenv("CLOCK"), O_RDONLY), 0);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int error = real(clock, now);
  if (!error && clock == CLOCK_REALTIME && shift) now->tv_sec += *shift;
  return error;
}
time_t time(time_t *seconds) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return seconds ? (*seconds = now.tv_sec) : now.tv_sec;
}
"""


def score(service: Service, title: str = "Größe 🎉 日本", **fields: object) -> httpx.Response:
    return httpx.post(f"{service.url}/predict", json={"title": title, **fields}, timeout=LIMIT_S)


def processor_s(service: Service) -> float:
    fields = Path(f"/proc/{service.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def control_group(controller: str, **limits: int) -> Iterator[tuple[str, Path]]:
    """A control group: the shell command that joins it, and its folder. Skips the test if there is none."""
    top = Path("/sys/fs/cgroup")
    group = top / (f"{controller}/miles-hostile" if (top / controller).is_dir() else "miles-hostile")
    try:
        group.mkdir(exist_ok=True)
        for name, value in limits.items():
            (group / f"{controller}.{name}").write_text(str(value))
    except OSError as exc:
        pytest.skip(f"no control group for {controller}: {exc}")
    try:
        yield f"echo $$ > {group}/cgroup.procs", group
    finally:
        until(lambda: not (group / "cgroup.procs").read_text().strip())
        group.rmdir()


def test_the_clock_jumps(tiny_bundle: Path, tmp_path: Path, promise: Record) -> None:
    source, library, clock = tmp_path / "clock.c", tmp_path / "clock.so", tmp_path / "clock"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    clock.write_bytes(bytes(8))
    seen = {}
    preload = f"export LD_PRELOAD={library} CLOCK={clock}"
    with in_shell(tmp_path / "log", preload, checkpoint=tiny_bundle, rate_limit=1000) as service:
        wait_for(service, "/health/ready")
        for name, seconds in JUMPS.items():
            clock.write_bytes(seconds.to_bytes(8, sys.byteorder, signed=True))
            year = str(time.gmtime(time.time() + seconds).tm_year)
            until(lambda year=year: httpx.get(service.url).headers["date"][12:16] == year)  # type: ignore[misc]
            started = time.monotonic()
            statuses = {score(service, f"{name} {n}").status_code for n in range(5)}
            ready = httpx.get(f"{service.url}/health/ready", timeout=LIMIT_S).status_code
            seen[name] = (statuses, ready, year, time.monotonic() - started)
    kept = all(statuses == {200} and ready == 200 for statuses, ready, _, _ in seen.values())
    promise(
        "a machine that fails",
        wanted="the clock jumps days, a year back and to 2060: ready, and every video is scored",
        figure="; ".join(
            f"{name}: {statuses}, ready {ready}, in the year {year}, {seconds:.1f} s"
            for name, (statuses, ready, year, seconds) in seen.items()
        ),
        kept=kept,
    )


@needs_root
def test_a_user_who_may_write_nothing(tiny_bundle: Path, tmp_path: Path, promise: Record) -> None:
    """Uid 1000 without a home, a temporary folder and a locale, as in a hardened container."""
    home, inner = (Path(*Path(sys.base_prefix).parts[:count]) for count in (2, 3))
    kept_at = tmp_path / "python"
    kept_at.mkdir()
    words = "true"
    if home.stat().st_mode & 0o005 != 0o005:  # Python is in a home that others may not enter
        words = (
            f"mount --bind {inner} {kept_at}; mount -t tmpfs -o mode=755 none {home}; mkdir {inner}; "
            f"mount --bind {kept_at} {inner}"
        )
    bundle = Path(shutil.copytree(tiny_bundle, "/var/tmp/miles-hostile-bundle", dirs_exist_ok=True))  # noqa: S108
    become = "setpriv --reuid=1000 --regid=1000 --clear-groups env -u HOME -u LANG LC_ALL=C TMPDIR=/proc"
    try:
        with in_shell(tmp_path / "log", words, run=become, checkpoint=bundle) as service:
            wait_for(service, "/health/ready")
            status = Path(f"/proc/{service.process.pid}/status").read_text()
            user = re.findall(r"^Uid:\s+(\d+)", status, re.MULTILINE)[0]
            answers = [score(service, f"Größe {n}").status_code for n in range(5)]
            code = service.stop()
    finally:
        shutil.rmtree(bundle)
    promise(
        "a machine that fails",
        wanted="uid 1000 without a home, a locale or a place to write: starts and scores",
        figure=f"uid {user}: {answers}, exit {code}",
        kept=(user, answers, code) == ("1000", [200] * 5, 0),
    )


@needs_root
def test_a_limit_on_memory(demo_bundle: Path, tmp_path: Path, promise: Record) -> None:
    videos = [{"title": f"video {n}", "view_count": n, "explain": True} for n in range(128)]
    with (
        control_group("memory", **_memory_limit(700 * MEBIBYTE)) as (join, group),
        in_shell(tmp_path / "log", join, checkpoint=demo_bundle) as service,
    ):
        wait_for(service, "/health/ready")
        batch = httpx.post(f"{service.url}/predict/batch", json={"videos": videos}, timeout=LIMIT_S)
        scored = sum("viral_score" in entry for entry in batch.json()["predictions"])
        service.process.send_signal(signal.SIGHUP)
        until(lambda: re.search("model_freed|reload_failed", service.log.read_text()) is not None)
        switched = "model_switched" in service.log.read_text()
        refused = re.findall(r"needs about \d+ MB of memory .*; \d+ MB are free", service.log.read_text())
        after = score(service).status_code
        code = service.stop()
        peak = _peak(group)
    promise(
        "a machine that fails",
        wanted="700 MB of memory: the demo explains 128 videos, reloads or says what is missing, scores",
        figure=f"{scored} of 128, {(refused or ['reloaded'])[0]}, then {after}; peak {peak / 1e6:.0f} MB, "
        f"exit {code}",
        kept=(scored, after, code) == (128, 200, 0) and (switched or len(refused) == 1),
    )


def _memory_limit(size: int) -> dict[str, int]:
    return {"limit_in_bytes" if Path("/sys/fs/cgroup/memory").is_dir() else "max": size}


def _peak(group: Path) -> int:
    peaks = (group / "memory.peak", group / "memory.max_usage_in_bytes")
    return next(int(path.read_text()) for path in peaks if path.exists())


@needs_root
def test_busy_processors_at_the_start(tiny_bundle: Path, tmp_path: Path, promise: Record) -> None:
    """On a fifth of a CPU a start takes at most 1.5 times the CPU time of a free one: no engine spins."""
    with ready_service(tmp_path / "alone", checkpoint=tiny_bundle) as service:
        alone = processor_s(service)
    limits = {"cfs_period_us": 100_000, "cfs_quota_us": 20_000}
    if not Path("/sys/fs/cgroup/cpu").is_dir():
        limits = {"max": 20_000}
    with (
        control_group("cpu", **limits) as (join, _),
        in_shell(tmp_path / "log", join, checkpoint=tiny_bundle) as service,
    ):
        started = time.monotonic()
        wait_for(service, "/health/ready")
        seconds, busy = time.monotonic() - started, processor_s(service)
        status = score(service).status_code
        service.process.kill()
        service.process.wait()
    promise(
        "a machine that fails",
        wanted="a fifth of one processor: the start takes at most 1.5 times the processor time of a free one",
        figure=f"{busy:.1f} s of processor time, {alone:.1f} s alone; ready after {seconds:.0f} s, {status}",
        kept=busy < 1.5 * alone and status == 200,
    )


def compiling(log: Path) -> Callable[[], bool]:
    return lambda: log.exists() and '"compiling"' in log.read_text()


def test_sigterm_during_compile_and_load(tiny_bundle: Path, tmp_path: Path, promise: Record) -> None:
    (tmp_path / "models").mkdir()
    path = write_tiny(tmp_path / "models" / "model_full.pt")
    before = sorted(path.parent.rglob("*"))
    ends = {}
    for name, checkpoint, is_under_way in (
        ("compile", path, compiling(tmp_path / "compile")),
        ("load", tiny_bundle, lambda: '"listening"' in (tmp_path / "load").read_text()),
    ):
        with started_service(tmp_path / name, checkpoint=checkpoint, precision="f32") as service:
            until(is_under_way)
            time.sleep(0.5)
            started = time.monotonic()
            ends[name] = (service.stop(), time.monotonic() - started)
    left = [each for each in sorted(path.parent.rglob("*")) if each not in before and each.is_file()]
    promise(
        "a machine that fails",
        wanted="SIGTERM during compile and load: exit 0, no files left",
        figure="; ".join(
            f"{name}: exit {code} after {seconds:.1f} s" for name, (code, seconds) in ends.items()
        )
        + f"; {len(left)} files left",
        kept=all(code == 0 and seconds < 25 for code, seconds in ends.values()) and not left,
    )


@needs_root
def test_a_full_disk(tmp_path: Path, promise: Record) -> None:
    path = write_tiny(tmp_path / "model_full.pt")
    other = write_tiny(tmp_path / "other.pt", with_vision=False)
    size, disk = path.stat().st_size, tmp_path / "disk"
    disk.mkdir()
    settings = {"checkpoint": disk / "model_full.pt", "precision": "f32", "threads": 1}
    small = f"mount -t tmpfs -o size={size + 65_536} none {disk}; cp {path} {disk}/"
    with in_shell(tmp_path / "start", small, **settings) as service:
        code = service.process.wait(LIMIT_S)
    line = (tmp_path / "start").read_text().strip().splitlines()[-1]
    large = f"mount -t tmpfs -o size={8 * size} none {disk}; cp {path} {other} {disk}/"
    with in_shell(tmp_path / "reload", large, **settings) as service:
        wait_for(service, "/health/ready")
        before = score(service).json()["model_version"]
        inside = Path(f"/proc/{service.process.pid}/root{disk}")
        (inside / "other.pt").replace(inside / "model_full.pt")
        with (inside / "fill").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(65_536)):
                pass
        service.process.send_signal(signal.SIGHUP)
        until(lambda: "reload_refused" in service.log.read_text())
        after = score(service)
        ended = service.stop()
    promise(
        "a machine that fails",
        wanted="a full disk: a start that must compile ends with one line, a reload is refused",
        figure=f"start: exit {code}, {line[:90]!r}; after the reload {after.status_code}, "
        f"{after.json().get('model_version') == before}, exit {ended}",
        kept=code == 1
        and "space" in line
        and "Traceback" not in line
        and (after.status_code, after.json()["model_version"], ended) == (200, before, 0),
    )


def test_hangups_under_load(tiny_bundle: Path, tmp_path: Path, promise: Record) -> None:
    """Two hundred SIGHUP while videos are scored: every load that began ends, every video gets its score."""
    with ready_service(tmp_path / "log", checkpoint=tiny_bundle) as service:
        statuses: set[int] = set()
        for n in range(200):
            service.process.send_signal(signal.SIGHUP)
            if not n % 10:
                statuses.add(score(service, f"storm {n}").status_code)
            time.sleep(0.02)
        until(lambda: _logged(service, "reload_started") == _logged(service, "model_switched"))
        ready = httpx.get(f"{service.url}/health/ready", timeout=LIMIT_S).status_code
        code = service.stop()
    # The last signal may begin a load after that, which the stop cancels.
    begun, switched, cancelled = (
        _logged(service, event) for event in ("reload_started", "model_switched", "reload_cancelled")
    )
    promise(
        "a machine that fails",
        wanted="200 SIGHUP under load: every video is scored, every load that began ends",
        figure=f"{begun} loads began, {switched} switched, {cancelled} cancelled by the stop; "
        f"statuses {statuses}, ready {ready}, exit {code}",
        kept=statuses == {200} and begun == switched + cancelled > cancelled and (ready, code) == (200, 0),
    )


def _logged(service: Service, event: str) -> int:
    return service.log.read_text().count(f'"{event}"')
