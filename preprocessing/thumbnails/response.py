"""What a host's response says: its head, its body within limits, and what a broken exchange means."""

import asyncio
import re
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from ssl import SSLError
from typing import Self

import anyio
import brotli
import httpcore2

from preprocessing.image import ImageTooLargeError, NotAnImageError
from preprocessing.thumbnails.policy import UnreachableError

# How long to wait before the one retry, in seconds, unless the host says so (RFC 9110, Retry-After).
RETRY_AFTER_S = {429: 1.0, 502: 0.2, 503: 0.2, 504: 0.2}
# Pictures are small. Only a few bodies beyond this size are read at once, and the others wait within their
# deadline: otherwise 64 servers that each stop one byte below the cap would hold half a gigabyte.
LARGE_BYTES = 512 * 1024
MAX_LARGE = 8
MAX_CODINGS = 3
MAX_MEMBERS = 64  # each costs a copy of what follows it
UNSUPPORTED_CODINGS = (b"zstd", b"compress")
GZIP_START = b"\x1f\x8b"
IMAGE_START = re.compile(rb"\xff\xd8|\x89PNG|GIF8|RIFF|.{4}ftypavi", re.DOTALL)

_ONE_TYPE = re.compile(rb"[^\s,;]*\s*(;[^,]*)?")
_ETAG = re.compile(rb'(W/)?"[\x21\x23-\x7e]{0,256}"')
_HTTP_DATE = re.compile(rb"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT")
_SECONDS = re.compile(rb"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Validators:
    """An ETag, a Last-Modified, or both, to ask the server later whether its picture has changed.

    They are untrusted text that is sent back, so only the forms of RFC 9110 are kept, at a bounded length.
    """

    etag: bytes | None = None
    last_modified: bytes | None = None

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> Self | None:
        """The validators among a response's headers; None where there are none that can be sent back."""
        lines = [(name.lower(), value) for name, value in headers]
        etag = _single([value for name, value in lines if name == b"etag"], _ETAG)
        last_modified = _single([value for name, value in lines if name == b"last-modified"], _HTTP_DATE)
        return cls(etag, last_modified) if etag or last_modified else None

    @property
    def conditions(self) -> list[tuple[bytes, bytes]]:
        """The headers that make a request conditional."""
        named = ((b"If-None-Match", self.etag), (b"If-Modified-Since", self.last_modified))
        return [(name, value) for name, value in named if value is not None]


def vet_head(response: httpcore2.Response, host: str, max_bytes: int) -> None:
    """Raises `ImageError` for a response whose status or headers promise no picture."""
    # The status first: YouTube answers 404 with a valid JPEG.
    status = response.status
    if status != 200:
        delay = RETRY_AFTER_S.get(status)
        told = set(header(response, b"retry-after"))
        if delay is not None and len(told) == 1:
            delay = _seconds(told.pop(), delay)
        raise UnreachableError(f"{host} answered {status}, expected 200", f"http_{status}", delay)
    lengths = header(response, b"content-length")
    if lengths and header(response, b"transfer-encoding"):
        raise UnreachableError(f"{host} sent both Content-Length and Transfer-Encoding")
    for length in lengths:  # digits, or the parser would have refused it
        if int(length) > max_bytes:
            raise ImageTooLargeError(f"{host} announced {int(length)} bytes, the limit is {max_bytes}")
    types = {each.strip() for line in header(response, b"content-type") for each in line.split(b",")}
    # Which type is claimed does not matter, because the bytes are examined; many hosts send a wrong one.
    if len(types) > 1 or not all(_ONE_TYPE.fullmatch(each) for each in types):
        raise NotAnImageError(f"{host} sent more than one Content-Type")


def broken(host: str, exc: Exception) -> UnreachableError:
    """What a failed HTTP exchange means, and whether another one may succeed."""
    if isinstance(exc, httpcore2.TimeoutException):
        return UnreachableError(f"{host} timed out ({type(exc).__name__})", "timeout")
    if "complete message body" in str(exc) or "incomplete chunked read" in str(exc):
        return UnreachableError(f"{host} cut the body off before its end", "truncated", 0.0)
    if isinstance(exc.__cause__, SSLError) or isinstance(exc, SSLError):
        return UnreachableError(f"TLS with {host} failed ({getattr(exc.__cause__, 'reason', exc)})")
    is_reset = isinstance(exc, httpcore2.NetworkError) or "disconnected" in str(exc)
    text = f"{host} sent no valid HTTP response ({type(exc).__name__})"
    return UnreachableError(text, retry_s=0.0 if is_reset else None)


def header(response: httpcore2.Response, name: bytes) -> list[bytes]:
    """The values of a header, one per line."""
    return [value for key, value in response.headers if key.lower() == name]


def _seconds(retry_after: bytes, default: float) -> float:
    """How long a host asks to wait, as a number or a date; the default where it is neither."""
    if _SECONDS.fullmatch(retry_after):
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after.decode("ascii")).timestamp() - time.time())
    except (ValueError, OverflowError):
        return default


def _single(values: list[bytes], form: re.Pattern[bytes]) -> bytes | None:
    """The value of a header that was sent exactly once and in this form; else None."""
    return values[0] if len(values) == 1 and form.fullmatch(values[0]) else None


class BodyReader:
    """Reads bodies of up to `max_bytes`, only a few large ones at once. For one event loop."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._large_turns = asyncio.Semaphore(MAX_LARGE)

    async def read(self, response: httpcore2.Response, host: str) -> bytes:
        """The body without its content codings. Raises `ImageError`."""
        codings = codings_of(response)
        body = bytearray()
        has_turn = False
        try:
            async with aclosing(response.aiter_stream()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise ImageTooLargeError(f"{host} sent more than {self._max_bytes} bytes")
                    if not has_turn and len(body) > LARGE_BYTES:
                        has_turn = await self._large_turns.acquire()
            if not body:
                raise UnreachableError(f"{host} answered 200 without a body", "empty")
            if not codings:
                return bytes(body)
            if not has_turn:  # it may grow
                has_turn = await self._large_turns.acquire()
            # Its thread cannot be cancelled, so the turn ends with it.
            return await anyio.to_thread.run_sync(unpacked, bytes(body), codings, host, self._max_bytes)
        finally:
            if has_turn:
                self._large_turns.release()


def codings_of(response: httpcore2.Response) -> list[bytes]:
    """The known names in Content-Encoding, in the order in which they were applied to the body."""
    lines = header(response, b"content-encoding")
    names = [name.strip().lower().removeprefix(b"x-") for line in lines for name in line.split(b",")]
    return [name for name in names if name in UNPACKERS or name in UNSUPPORTED_CODINGS]


def unpacked(body: bytes, codings: Sequence[bytes], host: str, max_bytes: int) -> bytes:
    """The body without its content codings, at most `MAX_CODINGS` of them. Raises `ImageError`.

    Hosts send wrong ones, and Amazon S3 leaves `aws-chunked` behind; what is not compressed is taken as is.
    """
    names = list(codings)
    if b"gzip" in names:
        # Gzip is recognised by its start, so a body that was compressed twice but says so once can be read.
        names += [b"gzip"] * (MAX_CODINGS - len(names))
    if len(names) > MAX_CODINGS:
        raise NotAnImageError(f"{host} sent {len(names)} content codings, the limit is {MAX_CODINGS}")
    for name in reversed(names):
        if IMAGE_START.match(body) or (name == b"gzip" and not body.startswith(GZIP_START)):
            continue
        coding = name.decode()
        if name in UNSUPPORTED_CODINGS:
            expected = "expected identity, gzip, deflate or br"
            raise NotAnImageError(f"{host} sent Content-Encoding: {coding}, {expected}", "unsupported_format")
        try:
            body, is_whole = UNPACKERS[name](body, max_bytes + 1)
        except (zlib.error, brotli.error) as exc:
            raise NotAnImageError(f"{host} sent a damaged {coding} encoding") from exc
        if len(body) > max_bytes:
            raise ImageTooLargeError(f"{host} sent more than {max_bytes} bytes in {coding} encoding")
        if not is_whole:
            raise NotAnImageError(f"{host} sent a {coding} encoding that is cut off", "truncated")
    return body


def _inflated(body: bytes, max_length: int, wbits: int) -> tuple[bytes, bool]:
    unpacking = zlib.decompressobj(wbits=wbits)
    return unpacking.decompress(body, max_length), unpacking.eof


def _gunzipped(body: bytes, max_length: int) -> tuple[bytes, bool]:
    """All members, as RFC 1952 asks, and not what follows the last one."""
    unpacked_so_far = bytearray()
    for _ in range(MAX_MEMBERS):
        unpacking = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        unpacked_so_far += unpacking.decompress(body, max_length - len(unpacked_so_far))
        body = unpacking.unused_data
        is_full = len(unpacked_so_far) >= max_length
        if is_full or not unpacking.eof or not body.startswith(GZIP_START):
            return bytes(unpacked_so_far), unpacking.eof
    return bytes(unpacked_so_far), False


def _deflate(body: bytes, max_length: int) -> tuple[bytes, bool]:
    try:
        return _inflated(body, max_length, zlib.MAX_WBITS)
    except zlib.error:  # many hosts leave out the two bytes of zlib's header
        return _inflated(body, max_length, -zlib.MAX_WBITS)


def _brotli(body: bytes, max_length: int) -> tuple[bytes, bool]:
    unpacking = brotli.Decompressor()
    return unpacking.process(body, output_buffer_limit=max_length), unpacking.is_finished()


# Each returns at most about the number of bytes asked for, and whether the end was reached.
UNPACKERS: dict[bytes, Callable[[bytes, int], tuple[bytes, bool]]] = {
    b"gzip": _gunzipped,
    b"deflate": _deflate,
    b"br": _brotli,
}
