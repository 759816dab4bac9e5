"""A server on loopback that hands out files as the Hugging Face hub does, at one commit each revision."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


@contextmanager
def file_hub(repository: str, files: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a hub that has `files` in `repository` at every revision, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            start = f"/{repository}/resolve/"
            name = self.path.removeprefix(start).partition("/")[2]
            if self.path.startswith(start) and name in files:
                self._send(200, files[name])
            else:
                self.close_connection = True
                self._send(404, b"", "EntryNotFound")

        do_HEAD = do_GET  # noqa: N815  http.server's name

        def _send(self, status: int, content: bytes, error: str = "") -> None:
            lines = [
                f"HTTP/1.0 {status} -",
                f"Content-Length: {len(content)}",
                f'ETag: "{hashlib.sha256(content).hexdigest()}"',
                f"X-Repo-Commit: {COMMIT}",
                *([f"X-Error-Code: {error}"] if error else []),
            ]
            head = "\r\n".join([*lines, "", ""]).encode()
            self.wfile.write(head if self.command == "HEAD" else head + content)

        def log_message(self, *_: object) -> None:
            """Tests look at what was downloaded."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
