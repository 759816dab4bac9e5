"""A local host for thumbnails: good ones, bad ones, slow ones."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


@cache
def picture(seed: int = 0, size: tuple[int, int] = (320, 180), image_format: str = "JPEG") -> bytes:
    """A smooth colourful picture, the same for the same seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(buffer, image_format)
    return buffer.getvalue()


class ThumbnailHost:
    """Counts what was asked of it. Paths: /ID.jpg, /missing.jpg, /page.html, /huge.jpg, /slow.jpg."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []

    def thumbnail(self, seed: int = 0) -> str:
        """The URL of a good picture."""
        return f"{self.url}/{seed}.jpg"


@contextmanager
def thumbnail_host(slow_s: float = 20.0) -> Iterator[ThumbnailHost]:
    """A running host on a port of its own."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append(self.path)
            if self.path == "/slow.jpg":
                time.sleep(slow_s)
            status, media_type, body = _answer(self.path)
            head = f"HTTP/1.0 {status} -\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)  # in one write: two would wait for each other's ACK

        def log_message(self, *_: object) -> None:
            """Say nothing; the test's output is for the test."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256  # a burst of connections must not wait for a second SYN

        def handle_error(self, *_: object) -> None:
            """A client that hung up on an oversized body is what the test wants."""

    server = Server(("127.0.0.1", 0), Answer)
    host = ThumbnailHost(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(path: str) -> tuple[int, str, bytes]:
    if path == "/missing.jpg":
        return 404, "image/jpeg", picture()  # as YouTube does
    if path == "/page.html":
        return 200, "text/html", b"<!doctype html><title>no image</title>"
    if path == "/huge.jpg":
        return 200, "image/jpeg", bytes(9 * 1024 * 1024)
    return 200, "image/jpeg", picture(int(path.strip("/").split(".")[0]) if path[1].isdigit() else 0)
