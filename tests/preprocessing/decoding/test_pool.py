"""The decoder pool gives the same pixels as this process, and survives workers that hang, die or lie."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocessing.decoding.pool import DecodePool, DecoderUnavailableError, WorkerLimits
from preprocessing.image import (
    AS_SEEN,
    ImageError,
    ImageLimits,
    ImageSpec,
    ImageTooLargeError,
    NotAnImageError,
)
from preprocessing.pixels import decode_image, read_picture
from tests.preprocessing.decoding.slow_jpeg import slow_jpeg
from tests.support.house import ROOT
from tests.support.pictures import BOMBS, FILES, NOT_IMAGES, encoded, picture

pytestmark = pytest.mark.anyio

GOOD = encoded(picture(), "JPEG")
PIXELS = decode_image(GOOD)
LONG_S = 60.0


def pool(workers: int = 1, deadline_s: float = LONG_S, **limits: int) -> DecodePool:
    """A pool whose deadline is not reached even on a busy machine, unless a test sets one."""
    return DecodePool(ImageSpec(), ImageLimits(), workers, WorkerLimits(deadline_s, **limits))


async def outcome(of: DecodePool, file: bytes) -> object:
    """The pixels' bytes, or the error's type and text."""
    try:
        decoded = await of.decode(file)
        return decoded.pixels.tobytes(), decoded.traits, decoded.width, decoded.height
    except ImageError as exc:
        return type(exc), str(exc)


def outcome_here(file: bytes) -> object:
    """The same from this process."""
    try:
        decoded = read_picture(file, ImageSpec(reading=AS_SEEN), ImageLimits())
        return decoded.pixels.tobytes(), decoded.traits, decoded.width, decoded.height
    except ImageError as exc:
        return type(exc), str(exc)


async def test_a_worker_answers_as_this_process_does() -> None:
    """Every kind of file gives the same pixels or the same error, though a worker may not open files."""
    files = {name: make() for name, make in (FILES | NOT_IMAGES | BOMBS).items()}
    async with DecodePool(ImageSpec(reading=AS_SEEN), ImageLimits(), 2, WorkerLimits(LONG_S)) as decoders:
        outcomes = await asyncio.gather(*(outcome(decoders, file) for file in files.values()))
        assert decoders.lost == 0
    here = {name: outcome_here(file) for name, file in files.items()}
    assert [name for name, found in zip(files, outcomes, strict=True) if found != here[name]] == []


async def test_bytes_over_the_limit_never_reach_a_worker() -> None:
    """The pool refuses them itself, with the limits' own error."""
    async with DecodePool(ImageSpec(), ImageLimits(max_bytes=len(GOOD) - 1), workers=1) as decoders:
        with pytest.raises(ImageTooLargeError, match="the limit is"):
            await decoders.decode(GOOD)


async def test_the_spec_sets_the_size() -> None:
    async with DecodePool(ImageSpec(32, 48), ImageLimits(), workers=1) as decoders:
        assert np.array_equal((await decoders.decode(GOOD)).pixels, decode_image(GOOD, ImageSpec(32, 48)))


async def stopped(decoders: DecodePool) -> int:
    """The only worker, suspended once it is ready, so that it holds the next picture."""
    await decoders.ready()
    (worker,) = decoders.process_ids
    os.kill(worker, signal.SIGSTOP)
    return worker


async def sent() -> None:
    """Let the pool hand out its pictures: that needs turns of the event loop, not time."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_worker_that_dies_costs_only_its_picture() -> None:
    """That picture is refused with the exit status; the next one is decoded by another process."""
    async with pool() as decoders:
        worker = await stopped(decoders)
        first, second = (asyncio.create_task(decoders.decode(GOOD)) for _ in range(2))
        await sent()  # the worker holds the first
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(NotAnImageError, match=r"crashed the decoder \(exit status -9\)"):
            await first
        assert np.array_equal((await second).pixels, PIXELS)
        assert worker not in decoders.process_ids
        assert decoders.lost == 1


async def test_a_worker_that_hangs_is_killed_at_the_deadline() -> None:
    """Its picture is refused, and another process takes its place."""
    async with pool(deadline_s=0.5) as decoders:
        worker = await stopped(decoders)
        with pytest.raises(NotAnImageError, match=r"not decoded within 0\.5 s"):
            await decoders.decode(GOOD)
        assert not alive(worker)
        async with asyncio.timeout(LONG_S):
            while not decoders.process_ids:  # noqa: ASYNC110  its start is not announced
                await asyncio.sleep(0.01)
        assert worker not in decoders.process_ids


async def test_other_workers_continue_while_one_hangs() -> None:
    """With one of two workers suspended, the second decodes all pictures but one."""
    async with pool(workers=2) as decoders:
        await asyncio.gather(*(decoders.decode(GOOD) for _ in range(8)))
        held = decoders.process_ids[0]
        os.kill(held, signal.SIGSTOP)
        tasks = [asyncio.create_task(decoders.decode(GOOD)) for _ in range(9)]
        async with asyncio.timeout(LONG_S / 2):
            while sum(task.done() for task in tasks) < 8:  # noqa: ASYNC110  any eight of them
                await asyncio.sleep(0.01)
        os.kill(held, signal.SIGCONT)
        assert all(np.array_equal(each.pixels, PIXELS) for each in await asyncio.gather(*tasks))


async def test_a_picture_that_takes_too_much_work_ends_its_worker() -> None:
    """A file of endless refinements is stopped by the limit on CPU time, long before the deadline."""
    async with pool(cpu_s=0) as decoders:
        with pytest.raises(NotAnImageError, match=f"status -{signal.SIGXCPU}"):
            await decoders.decode(slow_jpeg())
        assert np.array_equal((await decoders.decode(GOOD)).pixels, PIXELS)


async def test_a_picture_that_takes_too_much_memory_is_too_large() -> None:
    """The worker survives its memory limit and decodes the next picture."""
    large = encoded(Image.new("RGB", (4000, 3000)), "PNG")
    async with pool(memory_bytes=24_000_000) as decoders:
        with pytest.raises(ImageTooLargeError, match="more memory than is available"):
            await decoders.decode(large)
        assert np.array_equal((await decoders.decode(GOOD)).pixels, PIXELS)
        assert decoders.lost == 0


async def test_a_worker_that_ended_while_idle_costs_no_picture() -> None:
    """The next picture is decoded by another process."""
    async with pool() as decoders:
        await decoders.decode(GOOD)
        (worker,) = decoders.process_ids
        os.kill(worker, signal.SIGKILL)
        os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222  returns at once after SIGKILL
        assert np.array_equal((await decoders.decode(GOOD)).pixels, PIXELS)
        assert decoders.process_ids != [worker]


async def test_a_client_that_disconnects_affects_no_other() -> None:
    """Its picture is decoded and discarded; the worker continues with the next."""
    async with pool() as decoders:
        worker = await stopped(decoders)
        gone = asyncio.create_task(decoders.decode(GOOD))
        await sent()
        gone.cancel()
        os.kill(worker, signal.SIGCONT)
        assert np.array_equal((await decoders.decode(GOOD)).pixels, PIXELS)
        assert (decoders.process_ids, decoders.lost) == ([worker], 0)


async def test_an_abandoned_picture_is_not_decoded() -> None:
    """If its client left before its turn, it is skipped: decoding it would have ended the worker."""
    async with pool(cpu_s=0) as decoders:
        worker = await stopped(decoders)
        held, left = (asyncio.create_task(decoders.decode(file)) for file in (GOOD, slow_jpeg()))
        await sent()
        left.cancel()
        os.kill(worker, signal.SIGCONT)
        await held
        assert np.array_equal((await decoders.decode(GOOD)).pixels, PIXELS)
        assert decoders.lost == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_worker_leaves_signals_to_the_service(number: signal.Signals) -> None:
    """A terminal's Ctrl-C reaches it too, while the service still finishes its requests."""
    async with pool() as decoders:
        await decoders.decode(GOOD)
        (worker,) = decoders.process_ids
        os.kill(worker, number)
        await decoders.decode(GOOD)
        assert decoders.process_ids == [worker]


async def test_closing_leaves_no_process_and_no_waiting_caller() -> None:
    """Workers are gone; held, queued and later pictures are refused."""
    async with pool() as decoders:
        worker = await stopped(decoders)
        tasks = [asyncio.create_task(decoders.decode(GOOD)) for _ in range(3)]
        await sent()
    assert not alive(worker)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [DecoderUnavailableError] * 3
    with pytest.raises(DecoderUnavailableError):
        await decoders.decode(GOOD)


def imposter(path: Path, script: str) -> str:
    """A program that is started in place of Python."""
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


async def test_a_missing_worker_does_not_condemn_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture is not called bad if no process can be started or one begins with an invalid reply."""
    for script in ("exit 3", "printf '\\002\\0\\0\\0\\0' >&0; sleep 60"):
        monkeypatch.setattr(sys, "executable", imposter(tmp_path / "python", script))
        async with pool() as decoders:
            with pytest.raises(DecoderUnavailableError, match="cannot start a decoder process"):
                await decoders.decode(GOOD)
            monkeypatch.undo()
            assert np.array_equal((await decoders.decode(GOOD)).pixels, PIXELS)


async def test_a_worker_that_was_taken_over_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pixel, 4 GB of error or an unknown outcome end the worker; an unknown reason is dropped."""
    crashed, unknown = "crashed the decoder", "gave no reason"
    claims = (("\\002\\0\\0\\0\\001", crashed), ("\\003\\377\\377\\377\\377", crashed))
    claims += (("\\011\\0\\0\\0\\0", crashed), ("\\003\\0\\0\\0\\003a\\0b", unknown))
    for claim, error in claims:
        script = f"printf '\\0\\0\\0\\0\\0{claim}' >&0; exec sleep 60"
        monkeypatch.setattr(sys, "executable", imposter(tmp_path / "python", script))
        async with pool() as decoders:
            with pytest.raises(NotAnImageError, match=error):
                await decoders.decode(GOOD)
            assert decoders.lost == (error == crashed)


TAKEOVER = """
import ctypes, os, resource, socket, sys
from preprocessing.decoding.worker import lock_down
parent, out = os.getppid(), os.dup(1)
class Part(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("length", ctypes.c_size_t)]
mine, libc = ctypes.create_string_buffer(8), ctypes.CDLL(None, use_errno=True)
here, there = Part(ctypes.addressof(mine), 8), Part(int(sys.argv[1]), 8)
def foreign(call):
    if call(parent, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")
doors = {
    "read memory": lambda: foreign(libc.process_vm_readv),
    "write memory": lambda: foreign(libc.process_vm_writev),
    "signal": lambda: os.kill(parent, 0),
    "limits": lambda: resource.prlimit(parent, resource.RLIMIT_CPU),
    "fork": os.fork,
    "socket": socket.socket,
    "open": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "mkdir": lambda: os.mkdir(sys.argv[2]),
    "truncate": lambda: os.truncate(sys.argv[2], 0),
    "exec": lambda: os.execv("/bin/true", ["true"]),
}
assert lock_down(300 << 20)
for name, door in doors.items():
    try:
        door()
        os.write(out, f"{name} ".encode())
    except OSError:
        pass
os.write(out, b"done")
"""


def test_a_worker_that_was_taken_over_reaches_nothing(tmp_path: Path) -> None:
    """It cannot read or write its parent's memory, signal it, or start or open anything."""
    secret = ctypes.create_string_buffer(b"s3cret!!")
    command = [sys.executable, "-c", TAKEOVER, str(ctypes.addressof(secret)), str(tmp_path / "made")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False)
    assert (done.stdout, secret.value, list(tmp_path.iterdir())) == ("done", b"s3cret!!", [])


async def test_a_worker_holds_no_secret_and_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment has only what Python needs; it may open no file and holds three descriptors."""
    monkeypatch.setenv("MILES_API_KEYS", "s3cret")
    async with pool() as decoders:
        await decoders.decode(GOOD)
        (worker,) = decoders.process_ids
        process = Path(f"/proc/{worker}")
        assert b"s3cret" not in (process / "environ").read_bytes()
        assert "\nMax open files            0                    0 " in (process / "limits").read_text()
        assert sorted(path.name for path in (process / "fd").iterdir()) == ["0", "1", "2"]


def test_a_worker_imports_pillow_and_nothing_large() -> None:
    """Each worker pays for its imports, so it imports neither numpy nor anything of the service."""
    script = "import sys, preprocessing.decoding.worker; print(*sys.modules)"
    modules = set(run_python(script).stdout.split())
    assert "PIL.Image" in modules
    assert {"numpy", "torch", "openvino", "asyncio", "serving"} & modules == set()


def test_workers_end_with_the_process_that_started_them() -> None:
    """A service that is killed leaves no decoder behind."""
    script = (
        "import asyncio, os, time\n"
        "from preprocessing.decoding.pool import *\n"
        "async def main():\n"
        "    async with DecodePool(ImageSpec(), ImageLimits(), 2) as pool:\n"
        "        while len(pool.process_ids) < 2: await asyncio.sleep(0.01)\n"
        "        print(*pool.process_ids, flush=True)\n"
        "        os.kill(os.getpid(), 9)\n"
        "asyncio.run(main())"
    )
    run = run_python(script)
    assert run.returncode == -signal.SIGKILL
    workers = [int(number) for number in run.stdout.split()]
    assert len(workers) == 2
    ends = time.monotonic() + LONG_S
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < ends
        time.sleep(0.01)


def run_python(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONG_S, check=False)


def alive(process_id: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process_id}/status").read_text(encoding="ascii")
    except OSError:
        return False
