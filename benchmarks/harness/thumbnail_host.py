"""A thumbnail host that uses very little CPU: prepared bytes, one write per response.

    python -m benchmarks.harness.thumbnail_host PORT

`/0.jpg`, `/1.jpg`, ... are JPEGs in YouTube's sizes. Every number gives different pixels, so that no cache
sees a picture twice: the number changes a few steps of the quantisation table, which needs no encoding.
"""

import asyncio
import io
import re
import sys
from typing import cast

import numpy as np
from PIL import Image

SIZES = ((480, 360), (480, 360), (480, 360), (1280, 720))  # YouTube's hqdefault and maxresdefault
QUALITY = 85
SEED = 11
_NUMBER = re.compile(rb"GET /(\d{1,9})\.jpg ")
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
# Zigzag positions of the lowest frequencies in the luminance table, which every picture has.
_VARIED = range(1, 7)
_STEPS = 8


class Pictures:
    """JPEG responses by number."""

    def __init__(self) -> None:
        self._prepared = [_response(_encode(size, SEED + index)) for index, size in enumerate(SIZES)]

    def response(self, number: int) -> bytes:
        """Head and body of picture `number`; different for the first million numbers."""
        which, variant = number % len(SIZES), number // len(SIZES)
        content, table = self._prepared[which]
        patched = bytearray(content)
        for position in _VARIED:
            patched[table + position] += variant % _STEPS
            variant //= _STEPS
        return bytes(patched)

    def body(self, number: int) -> bytes:
        """The JPEG without the response head."""
        return self.response(number).partition(b"\r\n\r\n")[2]


def _encode(size: tuple[int, int], seed: int) -> bytes:
    """A picture with the detail of a photograph: smooth shapes and some grain."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (18, 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    grainy = smooth + draw.normal(0, 6, smooth.shape)
    buffer = io.BytesIO()
    Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _response(body: bytes) -> tuple[bytes, int]:
    """The response, and the offset of the luminance table's 64 steps in it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body)
    marker = body.index(b"\xff\xdb")  # DQT: marker, two bytes of length, one of table number
    assert body[marker + 4] == 0, "the first table must be the luminance table with steps of one byte"
    return head + body, len(head) + marker + 5


class Answer(asyncio.Protocol):
    """One connection. Requests are small enough to arrive in one piece, and are not pipelined."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer one request with one write."""
        assert self._transport is not None, "connection_made comes first"
        wanted = _NUMBER.match(data)
        self._transport.write(self._pictures.response(int(wanted[1])) if wanted else _NOT_FOUND)


async def serve(port: int) -> None:
    """Answer on loopback until cancelled."""
    pictures = Pictures()
    server = await asyncio.get_running_loop().create_server(lambda: Answer(pictures), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
