"""The process that decodes for `preprocessing.decoding.pool`: picture files in, RGB bytes out, one by one.

    python -m preprocessing.decoding.worker HEIGHT WIDTH MAX_BYTES MAX_PIXELS MEMORY_BYTES CPU_S READING...

Its standard input is a socket. A request is a length and that many bytes; a reply is an outcome, a length and
that many bytes: RGB after the traits and the size, or a reason, a NUL and a sentence. It ends when the other
side hangs up. Linux confines it, so that a decoder which is taken over reaches nothing: its memory and its
processor time per picture are limited, it may not open files or start processes; only `SYSTEM_CALLS` pass.
"""

import ctypes
import os
import platform
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

# Pillow loads these two when it meets the first MPO or EXIF, and by then no file can be opened.
from PIL import Image, MpoImagePlugin, TiffImagePlugin

from preprocessing.image import ImageError, ImageLimits, ImageReading, ImageSpec, ImageTooLargeError
from preprocessing.pixels import read_picture

assert MpoImagePlugin
assert TiffImagePlugin

REQUEST = struct.Struct("!Q")
REPLY = struct.Struct("!BI")
SEEN = struct.Struct("!HII")
"""The traits, the width and the height of a file."""
READY, UNCONFINED, PIXELS, NOT_AN_IMAGE, TOO_LARGE = range(5)
SENTENCE_BYTES = 500
# What decoding needs: the socket, memory, locks, the clock, exit. By machine: the kernel's number for its
# table of calls; that of `prlimit64`, which is allowed for the process itself; and those of read, write,
# close, mmap, mprotect, munmap, brk, mremap, madvise, rt_sigaction, rt_sigprocmask, rt_sigreturn,
# sigaltstack, sched_yield, sendto, recvfrom, getpid, getppid, getrusage, futex, clock_gettime,
# restart_syscall, getrandom, exit, exit_group.
SYSTEM_CALLS = {
    "x86_64": (0xC000003E, 302, (0, 1, 3, 9, 10, 11, 12, 25, 28, 13, 14, 15, 131, 24,
                                 44, 45, 39, 110, 98, 202, 228, 219, 318, 60, 231)),
    "aarch64": (0xC00000B7, 261, (63, 64, 57, 222, 226, 215, 214, 216, 233, 134, 135, 139, 132, 124,
                                  206, 207, 172, 173, 165, 98, 113, 128, 278, 93, 94)),
}  # fmt: skip
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF: load a word of the call, compare it, return the verdict
NUMBER, ARCHITECTURE, PROCESS = 0, 4, 16  # offsets in a call: its number, its table, its first argument
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | 1  # the latter fails with EPERM


def main(arguments: list[str]) -> None:
    """Serve standard input until its other end is closed."""
    height, width, max_bytes, max_pixels, memory_bytes, cpu_s = map(int, arguments[:6])
    reading = ImageReading(*cast("list[Any]", arguments[6:]))
    spec, limits = ImageSpec(height, width, reading), ImageLimits(max_bytes, max_pixels)
    Image.preinit()  # loads JPEG, PNG and GIF
    # A terminal and some supervisors signal every process of a service; the pool decides when this one ends.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=0) as pool:
        is_confined = lock_down(memory_bytes)
        pool.sendall(REPLY.pack(READY if is_confined else UNCONFINED, 0))
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
    """The result for one picture, as a reply's outcome and payload."""
    try:
        decoded = read_picture(encoded, spec, limits)
        return PIXELS, SEEN.pack(decoded.traits, decoded.width, decoded.height) + decoded.rgb
    except ImageError as exc:
        outcome = TOO_LARGE if isinstance(exc, ImageTooLargeError) else NOT_AN_IMAGE
        return outcome, f"{exc.reason}\0{exc}".encode()[:SENTENCE_BYTES]


def lock_down(memory_bytes: int) -> bool:
    """Limit memory to what is used now plus this much, and confine this process; False without a filter.

    Core files, new files, other processes and other system calls are denied.
    """
    os.dup2(1, 2)  # to nowhere: what a file makes Pillow print does not belong in a log
    with suppress(OSError):  # no such files outside Linux
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        limit = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        # Where the container's memory runs out, this process is the one to be killed.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE):
        resource.setrlimit(kind, (0, 0))
    return filter_system_calls()


def filter_system_calls() -> bool:
    """Refuse every system call that decoding does not need; False where the kernel has no such filter."""
    if sys.platform != "linux" or platform.machine() not in SYSTEM_CALLS:
        return False
    architecture, limit_call, allowed = SYSTEM_CALLS[platform.machine()]
    # Each instruction: operation, jump if true, jump if false, constant. Jumps are relative to the next one.
    program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, REFUSE)]
    program += [(LOAD, 0, 0, NUMBER)]
    for number in allowed:
        program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    program += [(EQUAL, 1, 0, limit_call), (RETURN, 0, 0, REFUSE)]
    for half in (PROCESS, PROCESS + 4):  # limits may be set only for process 0, the caller
        program += [(LOAD, 0, 0, half), (EQUAL, 1, 0, 0), (RETURN, 0, 0, REFUSE)]
    program += [(RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    pointer = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(pointer), 0, 0) == 0)


def limit_cpu(seconds: int) -> None:
    """End this process once it has used `seconds` more, at most 1 s late: Linux counts whole seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1:])
