"""Real HTTP hosts on 127.0.0.1 that answer each request as a test says, each in a thread of its own."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """An answer; its Content-Length is added."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def web_host(answer: Callable[[Asked], Reply | None]) -> Iterator[str]:
    """The host's URL; `answer` runs in a thread for each request, and None disconnects."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            asked = Asked(self.command, self.path, self.headers, body)
            reply = answer(asked) if len(body) == length else None  # a cut body: the client was killed
            if reply is None:
                self.close_connection = True
                return
            lines = [f"HTTP/1.1 {reply.status} -", f"Content-Length: {len(reply.body)}"]
            lines += [f"{name}: {value}" for name, value in reply.headers.items()]
            head = "\r\n".join([*lines, "", ""]).encode("latin-1")
            try:  # in one write: two would wait for each other's ACK
                self.wfile.write(head if self.command == "HEAD" else head + reply.body)
            except OSError:
                self.close_connection = True  # the client has gone

        do_GET = do_HEAD = do_POST = do_PATCH = do_OPTIONS = _serve  # noqa: N815  http.server's names

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    class Host(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 256  # a burst of connections does not wait for a second SYN

    server = Host(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
