"""The process that decodes for `preprocessing.decoding.pool`: picture files in, RGB bytes out, one by one.

    python -m preprocessing.decoding.worker HEIGHT WIDTH MAX_BYTES MAX_PIXELS MEMORY_BYTES CPU_S

Its standard input is a socket. A request is a length and that many bytes; a reply is an outcome, a length and
that many bytes, RGB or a sentence. It ends when the other side hangs up, and lives under limits that Linux
enforces: memory, processor time for each picture, and no new file or connection of any kind, so that a
decoder which is taken over reaches nothing.
"""

import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

# Pillow loads these two when it meets the first MPO or EXIF, and by then no file can be opened.
from PIL import Image, MpoImagePlugin, TiffImagePlugin

from preprocessing.image import ImageError, ImageLimits, ImageSpec, ImageTooLargeError, read_rgb

assert MpoImagePlugin
assert TiffImagePlugin

REQUEST = struct.Struct("!Q")
REPLY = struct.Struct("!BI")
READY, PIXELS, NOT_AN_IMAGE, TOO_LARGE = range(4)
SENTENCE_BYTES = 500


def main(arguments: list[str]) -> None:
    """Serve standard input until its other end is closed."""
    height, width, max_bytes, max_pixels, memory_bytes, cpu_s = map(int, arguments)
    Image.preinit()  # loads JPEG, PNG and GIF
    # A terminal and some supervisors signal every process of a service; the pool decides when this one ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    lock_down(memory_bytes)
    spec, limits = ImageSpec(height, width), ImageLimits(max_bytes, max_pixels)
    with socket.socket(fileno=0) as pool:
        pool.sendall(REPLY.pack(READY, 0))
        while (encoded := receive(pool)) is not None:
            limit_cpu(cpu_s)
            outcome, payload = attempt(encoded, spec, limits)
            pool.sendall(REPLY.pack(outcome, len(payload)) + payload)


def receive(pool: socket.socket) -> bytes | None:
    """The next picture file; None when the pool has hung up."""
    head = pool.recv(REQUEST.size, socket.MSG_WAITALL)
    if len(head) < REQUEST.size:
        return None
    (length,) = REQUEST.unpack(head)
    return pool.recv(length, socket.MSG_WAITALL)


def attempt(encoded: bytes, spec: ImageSpec, limits: ImageLimits) -> tuple[int, bytes]:
    """What becomes of one picture, as a reply's outcome and payload."""
    try:
        return PIXELS, read_rgb(encoded, spec, limits)
    except ImageError as exc:
        outcome = TOO_LARGE if isinstance(exc, ImageTooLargeError) else NOT_AN_IMAGE
        return outcome, str(exc).encode()[:SENTENCE_BYTES]


def lock_down(memory_bytes: int) -> None:
    """Limit memory to what is used now plus this much; allow no core file and no newly opened files."""
    os.dup2(1, 2)  # nowhere: what a file makes Pillow say belongs in no log
    with suppress(OSError):  # no such files outside Linux
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        # Where the container's memory runs out, this process is the one to end.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def limit_cpu(seconds: int) -> None:
    """End this process once it has used `seconds` more, and at most one beyond; Linux counts whole ones."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1:])
