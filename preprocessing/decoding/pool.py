"""Decodes pictures in processes that can be killed: a file that hangs or crashes one affects no other.

Each process takes one picture at a time. When it overruns its deadline or ends, that picture is refused as no
image, and another process takes its place before the next picture.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import astuple, dataclass
from types import TracebackType
from typing import Self

from preprocessing.decoding.process import MEBIBYTE, DecodeProcess, error_of
from preprocessing.decoding.worker import PIXELS, SEEN
from preprocessing.image import Decoded, ImageLimits, ImageSpec, NotAnImageError, Trait

START_LIMIT_S = 20.0
START_ATTEMPTS = 2
# A progressive JPEG takes the most: six bytes of coefficients and four of pixels. The file is there thrice.
BYTES_PER_PIXEL = 10


class DecoderUnavailableError(RuntimeError):
    """No worker can be started, or the pool is closed: nothing is known about the picture."""


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """What one picture may take of a worker; `memory_bytes` comes on top of what an idle worker uses.

    Processor time is counted apart from the deadline, because a busy machine lets a good picture wait.
    """

    deadline_s: float = 5.0
    cpu_s: int = 2
    memory_bytes: int | None = None
    """None: enough for the largest picture that `ImageLimits` let through."""


class DecodePool(AbstractAsyncContextManager["DecodePool"]):
    """As many worker processes as may decode at once; they live as long as the context."""

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
        """Start the workers; pictures may be given at once, and wait for them."""
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
        """The workers that run."""
        return [slot.worker.process.pid for slot in self._slots if slot.worker is not None]

    @property
    def lost(self) -> int:
        """How many workers hung and were killed, or ended by themselves."""
        return sum(slot.lost for slot in self._slots)

    async def decode(self, encoded: bytes) -> Decoded:
        """What `read_picture` gives for this file, and its errors.

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

    def _start(self) -> DecodeProcess:
        spec, limits, worker = self._spec, self._limits, self._worker_limits
        largest = BYTES_PER_PIXEL * limits.max_pixels + 3 * limits.max_bytes + 16 * MEBIBYTE
        memory = largest if worker.memory_bytes is None else worker.memory_bytes
        numbers = (spec.height, spec.width, limits.max_bytes, limits.max_pixels, memory, worker.cpu_s)
        return DecodeProcess((*numbers, *astuple(spec.reading)), rgb_bytes=3 * spec.height * spec.width)


@dataclass(frozen=True, slots=True)
class _Job:
    """A picture and the place where its pixels are waited for."""

    encoded: bytes
    answer: asyncio.Future[bytearray]

    def accept(self, answer: bytearray) -> None:
        if not self.answer.done():  # its client may have left meanwhile
            self.answer.set_result(answer)

    def refuse(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


class _Slot:
    """The place of one worker: takes pictures from the queue and puts a new worker where one has ended."""

    def __init__(self, start: Callable[[], DecodeProcess], deadline_s: float) -> None:
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

    async def _started(self) -> DecodeProcess | None:
        """The worker that runs, a new one where it has ended; None where none can be started."""
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

    async def _ended(self, worker: DecodeProcess) -> int:
        """Kill it and its exit code; the system takes a while to clear up a large process."""
        self.worker = None
        self.lost += 1
        worker.kill()
        return await asyncio.to_thread(worker.process.wait)
