"""The body of a host's response: read within limits on bytes and memory, without its content codings."""

import asyncio
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import aclosing

import anyio
import brotli
import httpcore2

from preprocessing.image import ImageTooLargeError, NotAnImageError
from preprocessing.thumbnails.policy import UnreachableError
from preprocessing.thumbnails.response import header

# Pictures are small. Of bodies beyond this size only a few are taken at once, the others wait for them within
# their deadline: 64 servers that each stop one byte below the cap would else hold half a gigabyte.
LARGE_BYTES = 512 * 1024
MAX_LARGE = 8
MAX_CODINGS = 3
MAX_MEMBERS = 64  # each costs a copy of what follows it
UNSUPPORTED_CODINGS = (b"zstd", b"compress")
GZIP_START = b"\x1f\x8b"
IMAGE_START = re.compile(rb"\xff\xd8|\x89PNG|GIF8|RIFF|.{4}ftypavi", re.DOTALL)


class BodyReader:
    """Reads bodies of up to `max_bytes`, few large ones at once. For one event loop."""

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
        # It can be told by its start, so a body that was compressed twice for one name can be read.
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


# Each gives about as many bytes as asked for at most, and whether the end was reached.
UNPACKERS: dict[bytes, Callable[[bytes, int], tuple[bytes, bool]]] = {
    b"gzip": _gunzipped,
    b"deflate": _deflate,
    b"br": _brotli,
}
