"""A slow host for thumbnails that counts how many are asked of it at once."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.thumbnail_host import picture

SLOW_S = 0.02


@contextmanager
def crowded_host() -> Iterator[tuple[str, Callable[[], int]]]:
    """Its URL, and the most requests that it had at one time."""
    lock = threading.Lock()
    here, most = 0, 0

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal here, most
            with lock:
                here += 1
                most = max(most, here)
            time.sleep(SLOW_S)
            body = picture(int(self.path.strip("/").partition(".")[0]))
            with lock:
                here -= 1
            head = f"HTTP/1.0 200 -\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)

        def log_message(self, *_: object) -> None:
            """Say nothing; the test's output is for the test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", lambda: most
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
