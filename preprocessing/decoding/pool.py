"""Decodes pictures in processes that can be killed: a file that hangs or crashes one affects no other.

Each process takes one picture at a time. When it overruns its deadline or ends, that picture is refused as
not an image, and another process takes its place before the next picture. A process's replies are not
trusted: a malicious file may have taken it over.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from preprocessing.decoding.worker import (
    NOT_AN_IMAGE,
    PIXELS,
    READY,
    REPLY,
    REQUEST,
    SEEN,
    SENTENCE_BYTES,
    TOO_LARGE,
    UNCONFINED,
)
from preprocessing.image import (
    Decoded,
    ImageError,
    ImageLimits,
    ImageSpec,
    ImageTooLargeError,
    NotAnImageError,
    Trait,
)

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]
MEBIBYTE = 1024 * 1024
# glibc gives memory above its threshold back to Linux after each picture and gets it back page by page, which
# doubles the time of a 1280x720 JPEG. So the pages of one such picture are kept.
KEPT_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(16 * MEBIBYTE),
    "MALLOC_TRIM_THRESHOLD_": str(16 * MEBIBYTE),
    "MALLOC_ARENA_MAX": "1",  # a second thread's arena would count 64 MiB of addresses against the limit
}
REASONS = ("not_an_image", "unsupported_format", "truncated", "too_large", "too_many_pixels")
ERRORS: Mapping[int, type[ImageError]] = {NOT_AN_IMAGE: NotAnImageError, TOO_LARGE: ImageTooLargeError}
START_LIMIT_S = 20.0
START_ATTEMPTS = 2
# A progressive JPEG takes the most: six bytes of coefficients and four of pixels. The file is held 3 times.
BYTES_PER_PIXEL = 10


class DecoderUnavailableError(RuntimeError):
    """No worker can be started, or the pool is closed: nothing is known about the picture."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one picture may use of a worker; `memory_bytes` is in addition to what an idle worker uses.

    Processor time is counted separately from the deadline, because on a busy machine a good picture waits.
    """

    deadline_s: float = 5.0
    cpu_s: int = 2
    memory_bytes: int | None = None
    """None: enough for the largest picture that `ImageLimits` let through."""


class DecodePool(AbstractAsyncContextManager["DecodePool"]):
    """`workers` processes that decode in parallel; they live as long as the context."""

    def __init__(
        self, spec: ImageSpec, limits: ImageLimits, workers: int, worker_limits: WorkerLimits | None = None
    ) -> None:
        """Nothing is started yet."""
        assert workers > 0, "a pool needs a worker"
        self._spec, self._limits = spec, limits
        self._worker_limits = worker_limits or WorkerLimits()
        self._jobs: asyncio.Queue[_Job] = asyncio.Queue()
        self._slots = [_Slot(self._start, self._worker_limits.deadline_s) for _ in range(workers)]
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Start the workers; `decode` may be called at once, and waits for them."""
        self._tasks = [asyncio.create_task(slot.serve(self._jobs)) for slot in self._slots]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker; pending pictures fail with `DecoderUnavailableError`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while not self._jobs.empty():
            self._jobs.get_nowait().refuse(DecoderUnavailableError("the decoder pool has been closed"))

    async def ready(self) -> None:
        """Return once every worker has been started, or could not be."""
        await asyncio.gather(*(slot.is_up.wait() for slot in self._slots))

    @property
    def process_ids(self) -> list[int]:
        """The process ids of the running workers."""
        return [slot.worker.process.pid for slot in self._slots if slot.worker is not None]

    @property
    def lost(self) -> int:
        """How many workers hung and were killed, or ended by themselves."""
        return sum(slot.lost for slot in self._slots)

    async def decode(self, encoded: bytes) -> Decoded:
        """What `read_picture` returns or raises for this file.

        A file that takes a worker too long, or ends it, is a `NotAnImageError`. Raises
        `DecoderUnavailableError` where it is not the file's fault.
        """
        self._limits.check_bytes(encoded)
        if all(task.done() for task in self._tasks):
            raise DecoderUnavailableError("the decoder pool is not running")
        job = _Job(encoded, asyncio.get_running_loop().create_future())
        self._jobs.put_nowait(job)
        answer = memoryview(await job.answer)
        traits, width, height = SEEN.unpack(answer[: SEEN.size])
        return Decoded(answer[SEEN.size :], self._spec, width, height, Trait(traits))

    def _start(self) -> "DecodeProcess":
        spec, limits, worker = self._spec, self._limits, self._worker_limits
        largest = BYTES_PER_PIXEL * limits.max_pixels + 3 * limits.max_bytes + 16 * MEBIBYTE
        memory = largest if worker.memory_bytes is None else worker.memory_bytes
        numbers = (spec.height, spec.width, limits.max_bytes, limits.max_pixels, memory, worker.cpu_s)
        return DecodeProcess((*numbers, *astuple(spec.reading)), rgb_bytes=3 * spec.height * spec.width)


@dataclass(frozen=True, slots=True)
class _Job:
    """A picture and the future of its pixels."""

    encoded: bytes
    answer: asyncio.Future[bytearray]

    def accept(self, answer: bytearray) -> None:
        if not self.answer.done():  # its client may have left meanwhile
            self.answer.set_result(answer)

    def refuse(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


class _Slot:
    """The place of one worker: takes pictures from the queue and replaces a worker that has ended."""

    def __init__(self, start: "Callable[[], DecodeProcess]", deadline_s: float) -> None:
        self.worker: DecodeProcess | None = None
        self.lost = 0
        self.is_up = asyncio.Event()
        self._start, self._deadline_s = start, deadline_s

    async def serve(self, jobs: "asyncio.Queue[_Job]") -> None:
        """Answer every picture that is taken; runs until cancelled."""
        job: _Job | None = None
        try:
            await self._started()
            self.is_up.set()
            while True:
                job = await jobs.get()
                if not job.answer.done():
                    await self._answer(job)
        finally:
            if job is not None:
                job.refuse(DecoderUnavailableError("the decoder pool has been closed"))
            if self.worker is not None:
                self.worker.kill()
                self.worker.process.wait()
                self.worker = None

    async def _answer(self, job: _Job) -> None:
        worker = await self._started()
        if worker is None:
            job.refuse(DecoderUnavailableError("cannot start a decoder process"))
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                outcome, payload = await worker.exchange(job.encoded)
        except OSError as exc:  # TimeoutError is one
            code = await self._ended(worker)
            late = f"were not decoded within {self._deadline_s:g} s"
            why = late if isinstance(exc, TimeoutError) else f"crashed the decoder (exit status {code})"
            job.refuse(NotAnImageError(f"{len(job.encoded)} bytes that {why}"))
            await self._started()
        else:
            if outcome == PIXELS:
                job.accept(payload)
            else:
                job.refuse(error_of(outcome, payload))

    async def _started(self) -> "DecodeProcess | None":
        """The running worker, a new one if it has ended; None if none can be started."""
        if self.worker is not None and not self.worker.runs:  # ended from outside while it was idle
            await self._ended(self.worker)
        for _ in range(START_ATTEMPTS):
            if self.worker is not None:
                break
            await self._try_to_start()
        return self.worker

    async def _try_to_start(self) -> None:
        try:
            self.worker = self._start()
            async with asyncio.timeout(START_LIMIT_S):
                await self.worker.ready()
        except OSError:  # TimeoutError is one
            if self.worker is not None:
                await self._ended(self.worker)

    async def _ended(self, worker: "DecodeProcess") -> int:
        """Kill the worker and return its exit code; the system takes a while to clean up a large process."""
        self.worker = None
        self.lost += 1
        worker.kill()
        return await asyncio.to_thread(worker.process.wait)


class DecodeProcess:
    """A worker that has been started; `rgb_bytes` is the length of its pixels."""

    def __init__(self, arguments: tuple[int | str, ...], rgb_bytes: int) -> None:
        """Start it with the worker's arguments. Raises `OSError` when the system refuses another process."""
        command = [sys.executable, "-m", "preprocessing.decoding.worker", *map(str, arguments)]
        self._longest = dict.fromkeys((READY, UNCONFINED), 0) | dict.fromkeys(ERRORS, SENTENCE_BYTES)
        self._longest[PIXELS] = SEEN.size + rgb_bytes
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with theirs:
            try:
                self.process = subprocess.Popen(  # noqa: S603  a list, no shell
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, cwd=ROOT, env=_environment()
                )
            except OSError:
                self._socket.close()
                raise

    @property
    def runs(self) -> bool:
        """Whether the process is running."""
        return self.process.poll() is None

    async def ready(self) -> None:
        """Return once it takes pictures. Raises `OSError` when it ends before that."""
        outcome, _ = await self._reply(READY, UNCONFINED)
        if outcome == UNCONFINED:
            log.warning("decoder_not_confined: this system has no system-call filter for decoders")

    async def exchange(self, encoded: bytes) -> tuple[int, bytearray]:
        """One picture and its outcome. Raises `OSError` when the process ends before it has answered."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, REQUEST.pack(len(encoded)) + encoded)
        return await self._reply(PIXELS, NOT_AN_IMAGE, TOO_LARGE)

    def kill(self) -> None:
        """End it at once: it holds nothing worth finishing."""
        self._socket.close()
        self.process.kill()

    async def _reply(self, *expected: int) -> tuple[int, bytearray]:
        outcome, length = REPLY.unpack(await self._exactly(REPLY.size))
        longest = self._longest[outcome] if outcome in expected else -1
        if length > longest or (outcome == PIXELS and length < longest):
            raise ConnectionError(f"invalid decoder reply: outcome {outcome}, {length} bytes")
        return outcome, await self._exactly(length)

    async def _exactly(self, length: int) -> bytearray:
        loop = asyncio.get_running_loop()
        received = bytearray(length)
        rest = memoryview(received)
        while rest:
            count = await loop.sock_recv_into(self._socket, rest)
            if count == 0:
                raise ConnectionResetError("the decoder closed its socket")
            rest = rest[count:]
        return received


def error_of(outcome: int, payload: bytearray) -> ImageError:
    """The error that a worker reports; an unknown reason is from a worker that was taken over."""
    reason, _, text = payload.decode(errors="replace").partition("\0")
    known = text.isprintable() and reason in REASONS
    return ERRORS[outcome](text, reason) if known else NotAnImageError("the decoder gave no reason")


def _environment() -> dict[str, str]:
    """What a Python needs to start, and none of the service's secrets."""
    needed = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LD_LIBRARY_PATH", "LANG") or name.startswith("PYTHON")
    }
    return needed | KEPT_MEMORY
