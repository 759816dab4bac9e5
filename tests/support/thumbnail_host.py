"""A local host for thumbnails: good ones, bad ones, slow ones."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from PIL import Image

from tests.support.web import Asked, Reply, web_host


@cache
def picture(seed: int = 0, size: tuple[int, int] = (320, 180), image_format: str = "JPEG") -> bytes:
    """A smooth colourful picture, the same for the same seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, image_format)
    return buffer.getvalue()


class ThumbnailHost:
    """Records the requested paths.

    Paths: /ID.jpg, /missing.jpg, /page.html, /huge.jpg, /slow.jpg, /status/NUMBER.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[str] = []

    def thumbnail(self, seed: int = 0) -> str:
        """The URL of a good picture."""
        return f"{self.url}/{seed}.jpg"


@contextmanager
def thumbnail_host(slow_s: float = 20.0) -> Iterator[ThumbnailHost]:
    """A running host on its own port."""
    host = ThumbnailHost()

    def answer(asked: Asked) -> Reply:
        host.asked.append(asked.path)
        if asked.path == "/slow.jpg":
            time.sleep(slow_s)
        return _answer(asked.path)

    with web_host(answer) as host.url:
        yield host


def _answer(path: str) -> Reply:
    jpeg = {"Content-Type": "image/jpeg"}
    if path == "/missing.jpg":
        return Reply(404, picture(), jpeg)  # as YouTube does
    if path.startswith("/status/"):
        return Reply(int(path.rpartition("/")[2]), b"", {})
    if path == "/page.html":
        return Reply(200, b"<!doctype html><title>no image</title>", {"Content-Type": "text/html"})
    if path == "/huge.jpg":
        return Reply(200, bytes(9 * 1024 * 1024), jpeg)
    return Reply(200, picture(int(path.strip("/").split(".")[0]) if path[1].isdigit() else 0), jpeg)
