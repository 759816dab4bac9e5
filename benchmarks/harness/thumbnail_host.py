"""A thumbnail host that uses very little CPU: prepared strips of JPEGs, joined anew for each picture.

    python -m benchmarks.harness.thumbnail_host PORT

`/0.jpg`, `/1.jpg`, ... are JPEGs in YouTube's sizes. Each number has its own content: a JPEG with a restart
marker at the end of each row of blocks consists of strips that decode by themselves, and every strip is taken
from one of several prepared pictures. That needs no encoding while servers are measured.
"""

import asyncio
import io
import re
import sys
from dataclasses import dataclass
from typing import cast

import numpy as np
from PIL import Image

# Of ten videos: hqdefault, which most pages ask for; mqdefault; maxresdefault; and a Short's upright picture.
HQ, MQ, MAXRES, SHORT = (480, 360), (320, 180), (1280, 720), (1080, 1920)
MIX = (HQ, MQ, HQ, MAXRES, HQ, MQ, HQ, MAXRES, HQ, SHORT)
BARS = 45  # hqdefault shows 16:9 between black bars of this height
QUALITY = 85
SEED = 11
PREPARED = 4  # pictures of each size, whose strips are combined
DIGITS = 10  # of a number in base 4: a million pictures
_NUMBER = re.compile(rb"GET /(\d{1,9})\.jpg ")
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class Strips:
    """One JPEG: what precedes its strips, and the strips in order."""

    head: bytes
    strips: list[bytes]


class Pictures:
    """JPEG responses by number."""

    def __init__(self) -> None:
        self._prepared = {
            size: [_strips(_encode(size, SEED + index)) for index in range(PREPARED)] for size in set(MIX)
        }

    def response(self, number: int) -> bytes:
        body = self.body(number)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(body)
        return head + body

    def body(self, number: int) -> bytes:
        """A JPEG of strips that no other number has in this combination."""
        prepared = self._prepared[MIX[number % len(MIX)]]
        parts = [prepared[0].head]
        for strip in range(len(prepared[0].strips)):
            # The number's digits in base 4 in turn choose the pictures.
            which = (number >> 2 * (strip % DIGITS)) + strip
            parts += [prepared[which % PREPARED].strips[strip], b"\xff%c" % (0xD0 + strip % 8)]
        parts[-1] = b"\xff\xd9"
        return b"".join(parts)


def _encode(size: tuple[int, int], seed: int) -> bytes:
    """A picture with the detail of a photograph: smooth shapes and some grain."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (18, 32, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    grainy = (smooth + draw.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8)
    if size == HQ:
        grainy[:BARS] = grainy[-BARS:] = 0
    buffer = io.BytesIO()
    # Standard tables, which all pictures of a size share.
    Image.fromarray(grainy).save(buffer, "JPEG", quality=QUALITY, restart_marker_rows=1)
    return buffer.getvalue()


def _strips(encoded: bytes) -> Strips:
    """The picture's parts; its scan begins after the header that the last SOS marker starts."""
    scan = encoded.index(b"\xff\xda")
    scan += 2 + int.from_bytes(encoded[scan + 2 : scan + 4], "big")
    return Strips(encoded[:scan], _RESTART.split(encoded[scan:-2]))


class Answer(asyncio.Protocol):
    """One connection. Requests are small enough to arrive in one piece, and are not pipelined."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
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
