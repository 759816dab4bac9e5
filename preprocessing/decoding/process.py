"""One process that decodes: how it is started, asked and killed, and what its replies mean.

Its replies are not trusted: a malicious file may have taken over the decoder.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from preprocessing.decoding import worker
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
from preprocessing.image import ImageError, ImageTooLargeError, NotAnImageError

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


class DecodeProcess:
    """A worker that has been started; `rgb_bytes` is how long its pixels are."""

    def __init__(self, arguments: tuple[int | str, ...], rgb_bytes: int) -> None:
        """Start it with the worker's arguments. Raises `OSError` when the system refuses another process."""
        command = [sys.executable, "-m", worker.__name__, *map(str, arguments)]
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
        """Whether the process is there."""
        return self.process.poll() is None

    async def ready(self) -> None:
        """Return once it takes pictures. Raises `OSError` when it ends before."""
        outcome, _ = await self._reply(READY, UNCONFINED)
        if outcome == UNCONFINED:
            log.warning("decoder_not_confined: this system has no filter of system calls for decoders")

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
    """The error that a worker reports; a reason that it does not know is a worker's that was taken over."""
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
