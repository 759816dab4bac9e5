"""Connections as hostile clients use them, on raw sockets, in front of an app that echoes what it gets."""

import json
import re
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from serving.process.connections import MAX_HEAD, MAX_PIPELINED, guarded
from tests.support.process import LIMIT_S

BODY = b'{"title":"edge"}'
LARGE = b"a" * 4 * MAX_HEAD
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\n"
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED
WHOLE_LARGE = HEAD + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE
GET = b"GET /get HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
UPGRADES = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
)
# What is sent, and the answers: a status for a refusal, otherwise the path and body that the app received.
CASES: dict[str, tuple[bytes, list[int | tuple[str, bytes]]]] = {
    "length": (WHOLE + LAST, [("/predict", BODY), ("/last", b"")]),
    "chunks": (CHUNKS + LAST, [("/predict", BODY), ("/last", b"")]),
    "chunks of a byte": (
        CHUNKS.replace(CHUNKED, b"".join(b"1\r\n%c\r\n" % each for each in LARGE[:MAX_HEAD]) + b"0\r\n\r\n")
        + LAST,
        [("/predict", LARGE[:MAX_HEAD]), ("/last", b"")],
    ),
    "a body larger than any head": (WHOLE_LARGE + LAST, [("/predict", LARGE), ("/last", b"")]),
    "no body": (GET + LAST, [("/get", b""), ("/last", b"")]),
    "a body that looks like a request": (
        HEAD + b"Content-Length: %d\r\n\r\n" % len(GET) + GET + LAST,
        [("/predict", GET), ("/last", b"")],
    ),
    "two lengths": (HEAD + b"Content-Length: 16\r\nContent-Length: 3\r\n\r\n" + BODY, [400]),
    "length and chunks": (
        HEAD + b"Content-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKED,
        [400],
    ),
    "chunks of gzip": (CHUNKS.replace(b"chunked", b"gzip, chunked") + LAST, [501]),
    "gzip before chunks": (CHUNKS.replace(b"Transfer", b"Transfer-Encoding: gzip\r\nTransfer") + LAST, [501]),
    "chunks in capitals": (
        CHUNKS.replace(b"chunked", b" CHUNKED ") + LAST,
        [("/predict", BODY), ("/last", b"")],
    ),
    "bad chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY, [400]),
    "no host": (WHOLE.replace(b"Host: x\r\n", b""), [400]),
    "two hosts": (HEAD + b"Host: y\r\nContent-Length: 16\r\n\r\n" + BODY, [400]),
    "a host that is a path": (WHOLE.replace(b"Host: x", b"Host: x/admin?"), [400]),
    "garbage": (b"garbage\r\n\r\n", [400]),
    "a good request before garbage": (WHOLE + b"garbage\r\n\r\n", [("/predict", BODY), 400]),
    "a refused request before a good one": (WHOLE.replace(b"Host: x\r\n", b"") + LAST, [400]),
    "CONNECT": (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", [400]),
    "a target that is not a path": (b"GET \xff HTTP/1.1\r\nHost: x\r\n\r\n", [400]),
    "no host in HTTP/1.0": (b"GET /old HTTP/1.0\r\n\r\n", [("/old", b"")]),
    "one long header": (GET[:-2] + b"X: " + b"a" * 10 * MAX_HEAD, [431]),
    "many headers": (GET[:-2] + b"X: a\r\n" * MAX_HEAD, [431]),
    "a long line": (b"GET /" + b"a" * 2 * MAX_HEAD, [431]),
    "the longest head": (
        LAST[:-2] + b"X: " + b"a" * (MAX_HEAD - len(LAST) - 100) + b"\r\n\r\n",
        [("/last", b"")],
    ),
    "trailers": (CHUNKS[:-2] + b"X-A: b\r\nHost: y\r\n\r\n" + LAST, [("/predict", BODY), ("/last", b"")]),
    "one long trailer": (CHUNKS[:-2] + b"X: " + b"a" * 10 * MAX_HEAD, [431]),
    "many trailers": (CHUNKS[:-2] + b"X: a\r\n" * MAX_HEAD, [431]),
    "a long chunk extension": (CHUNKS.replace(b"\r\n" + BODY, b";" + b"a" * 10 * MAX_HEAD, 1), [431]),
    "endless blank lines": (b"\r\n" * MAX_HEAD, [431]),
    "many requests at once": (
        GET * 20 * MAX_PIPELINED + LAST,
        [("/get", b"")] * 20 * MAX_PIPELINED + [("/last", b"")],
    ),
}


async def repeat(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the path and body of the request, or with the refusal's status."""
    if scope["type"] != "http":
        return
    body = b""
    while not scope.get("refusal"):
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    status = scope["refusal"][0] if scope.get("refusal") else 200
    answer = json.dumps([scope["path"], body.decode()]).encode()
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., int]]:
    """Starts a server for an app on a port of its own."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def started(app: Any, timeout_s: float = LIMIT_S) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=guarded(timeout_s), ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        servers.append((server, thread))
        return int(listener.getsockname()[1])

    yield started
    for server, thread in servers:
        server.should_exit = True
        thread.join(LIMIT_S)


@pytest.fixture(scope="module")
def port(serve: Callable[..., int]) -> int:
    return serve(repeat)


def exchanged(port: int, *parts: bytes, half_close: bool = False) -> list[int | tuple[str, bytes]]:
    """The answers to what is sent in these parts; the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        for part in parts:
            connection.sendall(part)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    found = re.findall(rb"HTTP/1\.1 (\d+) .*?\r\n\r\n(\[.*?\])?", received, re.DOTALL)
    return [
        (json.loads(body)[0], json.loads(body)[1].encode()) if status == b"200" else int(status)
        for status, body in found
        if status != b"100"
    ]


def with_upgrade(sent: bytes, upgrade: bytes) -> bytes:
    """`sent` with `upgrade` in the first request that has a Host."""
    return sent.replace(b"Host: x\r\n", b"Host: x\r\n" + upgrade, 1)


def test_requests_are_read_by_their_framing(port: int) -> None:
    """Each case as a whole, in small parts, and once more with each kind of Upgrade, which is ignored."""
    failures = []
    for name, (sent, expected) in CASES.items():
        step = max(1, len(sent) // 50)
        ways = {
            "whole": [sent],
            "parts": [sent[at : at + step] for at in range(0, len(sent), step)],
            **{str(upgrade[:30]): [with_upgrade(sent, upgrade)] for upgrade in UPGRADES},
        }
        for way, parts in ways.items():
            answers = exchanged(port, *parts)
            if answers != expected:
                failures.append((name, way, answers[:3], expected[:3]))
    assert failures == []


def test_body_after_an_upgrade_is_never_a_request(port: int) -> None:
    """A body that arrives after its head still belongs to that request."""
    head, body = with_upgrade(CASES["a body that looks like a request"][0], UPGRADES[0]).split(b"\r\n\r\n", 1)
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        connection.sendall(head + b"\r\n\r\n")
        connection.sendall(GET)
        assert json.loads(connection.recv(65536).split(b"\r\n\r\n", 1)[1]) == ["/predict", GET.decode()]
    assert body.startswith(GET)


def test_client_that_only_ends_its_side_is_answered(port: int) -> None:
    """A half-closed connection gets its answers; a body that ends too early is a 400."""
    failures = []
    for sent, expected in (
        (WHOLE, [("/predict", BODY)]),
        (WHOLE_LARGE, [("/predict", LARGE)]),
        (GET, [("/get", b"")]),
        (GET + WHOLE, [("/get", b""), ("/predict", BODY)]),
        (with_upgrade(WHOLE, UPGRADES[0]), [("/predict", BODY)]),
        (GET + b"garbage\r\n\r\n", [("/get", b""), 400]),
        (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), [("/predict", BODY)]),
        (WHOLE[:-1], [400]),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n", [400]),
        (WHOLE[:20], []),
    ):
        if (answers := exchanged(port, sent, half_close=True)) != expected:
            failures.append((sent, answers))
    assert failures == []


def test_disconnect_is_noticed_without_an_answer(serve: Callable[..., int]) -> None:
    """A client that closes its connection while its request is computed ends the request."""
    has_begun, has_left = threading.Event(), threading.Event()

    async def compute(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 an ASGI app's signature
        has_begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left.set()

    with socket.create_connection(("127.0.0.1", serve(compute)), timeout=LIMIT_S) as connection:
        connection.sendall(WHOLE)
        assert has_begun.wait(LIMIT_S)
    assert has_left.wait(LIMIT_S)


def test_headers_cost_little_memory(port: int) -> None:
    """A connection that sends 64 MB of a header is refused, and the process has grown by less than 16 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert exchanged(port, GET[:-2] + b"X: ", *[b"a" * 1_000_000] * 64) == [431]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024
