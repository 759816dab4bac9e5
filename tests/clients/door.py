"""A door before a real service: it passes calls on, and may hold one back or answer it as a host would."""

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

LIMIT_S = 60
WAKING_PAGE = b"<!DOCTYPE html><title>Space</title><p>Your Space is waking up"
# Of one hop only, so that they are not passed on.
OWN_HEADERS = {"connection", "content-length", "transfer-encoding", "host", "date", "server", "keep-alive"}


@dataclass(frozen=True)
class Reply:
    """What the door answers by itself."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "text/html; charset=utf-8"})


class Hold:
    """A call that waits at the door: `reached` once it is there, goes on at `release`."""

    def __init__(self) -> None:
        self.reached, self.release = threading.Event(), threading.Event()


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Door:
    """Its address, the calls it has seen, and what becomes of the next ones; then all are passed on."""

    upstream: str
    strip: str = ""
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    plan: deque[Reply | Hold | None] = field(default_factory=deque)
    instead: dict[str, Reply] = field(default_factory=dict)
    """Paths that are never passed on."""

    def titles(self) -> list[str]:
        """The titles of all videos in all calls."""
        return [
            video.get("title", "")
            for call in self.calls
            if call.path.startswith("/predict")
            for video in call.body.get("videos", [call.body])
        ]

    def paths(self) -> list[str]:
        """Where the calls went."""
        return [call.path for call in self.calls]


def _handler(door: Door, client: httpx.Client) -> type[BaseHTTPRequestHandler]:
    class AtTheDoor(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one write for each answer

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parsed = json.loads(body) if body else None
            path = self.path.partition("?")[0]
            door.calls.append(Call(self.command, path, dict(self.headers), parsed))
            step = door.instead.get(path) or (door.plan.popleft() if door.plan else None)
            if isinstance(step, Hold):
                step.reached.set()
                assert step.release.wait(LIMIT_S), "a test holds a call and forgets it"
            if isinstance(step, Reply):
                self._answer(step)
            else:
                self._pass(body)

        def _pass(self, body: bytes) -> None:
            kept = {name: value for name, value in self.headers.items() if name.lower() not in OWN_HEADERS}
            try:
                target = door.upstream + self.path.removeprefix(door.strip)
                answer = client.request(self.command, target, content=body, headers=kept)
            except httpx.TransportError:
                self.close_connection = True  # what a client sees when the service behind a port dies
                return
            ours = {
                name: value
                for name, value in answer.headers.items()
                if name not in OWN_HEADERS | {"content-encoding"}
            }
            self._answer(Reply(answer.status_code, answer.content, ours))

        def _answer(self, reply: Reply) -> None:
            try:
                self.send_response(reply.status)
                for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)
                self.wfile.flush()
            except OSError:
                self.close_connection = True  # a client that was killed while it waited

        do_GET = do_POST = do_PATCH = do_HEAD = do_OPTIONS = _serve  # noqa: N815  the names that http.server looks for

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            """Nobody reads it."""

    return AtTheDoor


@contextmanager
def open_door(upstream: str, strip: str = "") -> Iterator[Door]:
    """A door on a free port of this machine; `strip` is taken from the front of each path."""
    door = Door(upstream, strip)
    with httpx.Client(timeout=LIMIT_S, trust_env=False) as client:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(door, client))
        server.daemon_threads = True
        server.block_on_close = False
        door.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield door
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
