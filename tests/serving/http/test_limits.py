"""What a service refuses, bounds and drops: over HTTP, with three places and thumbnails that never arrive."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.process import until
from tests.support.service import Service, ready_service
from tests.support.thumbnail_host import ThumbnailHost

PLACES = 3
TITLE = {"title": "How do planes stay up?"}
KEY = {"Authorization": "Bearer a-key-for-the-limits-test"}
PATIENCE_S = 30  # never waited for unless the service is broken


@pytest.fixture(scope="module")
def small(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that is soon full and soon late, and limits the client that a trusted proxy names."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    with ready_service(
        log,
        checkpoint=tiny_path,
        precision="f32",
        thumbnail_trusted_networks="127.0.0.0/8",
        thumbnail_timeout_s=20,
        max_queue_size=PLACES,
        receive_timeout_s=3,  # several tests wait for it, and others must send within it on a busy machine
        request_timeout_s=10,
        api_keys=KEY["Authorization"].removeprefix("Bearer "),
        rate_limit=20,
        trusted_proxies="127.0.0.0/8",
    ) as running:
        yield running


class Caller:
    """A client of the service; each test has an address of its own, so that limits are not shared."""

    def __init__(self, service: Service, address: str) -> None:
        self.address = (service.url.removeprefix("http://").split(":")[0], int(service.url.rsplit(":", 1)[1]))
        self.headers = KEY | {"X-Forwarded-For": address}
        self.http = httpx.Client(base_url=service.url, timeout=PATIENCE_S, headers=self.headers)

    def metric(self, name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", self.http.get("/metrics").text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def post(self, video: object, path: str = "/predict") -> httpx.Response:
        return self.http.post(path, json=video)

    @contextlib.contextmanager
    def holding(self, places: int, stalled: "Stalled") -> Iterator[list[httpx.Response]]:
        """While the context lasts, `places` videos wait for a thumbnail that never arrives; their answers."""
        answers: list[httpx.Response] = []
        videos = [TITLE | {"thumbnail_url": f"{stalled.url}?{number}"} for number in range(places)]
        threads = [
            threading.Thread(target=lambda video=video: answers.append(self.post(video))) for video in videos
        ]
        for thread in threads:
            thread.start()
        until(lambda: self.metric("miles_queue_videos") == places)
        yield answers
        stalled.listener.close()  # which ends the downloads: their videos are scored without a picture
        for thread in threads:
            thread.join()

    def raw(self, *parts: bytes) -> socket.socket:
        """A connection on which these bytes were sent."""
        connection = socket.create_connection(self.address, timeout=PATIENCE_S)
        connection.sendall(b"".join(parts))
        return connection

    def head(self, length: int) -> bytes:
        """The head of a POST to /predict."""
        fields = self.headers | {
            "Host": "miles",
            "Content-Type": "application/json",
            "Content-Length": str(length),
        }
        lines = ["POST /predict HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode()


@pytest.fixture
def caller(small: Service, request: pytest.FixtureRequest) -> Iterator[Caller]:
    number = abs(hash(request.node.name)) % 60_000
    calling = Caller(small, f"198.51.{number // 250}.{number % 250}")
    yield calling
    calling.http.close()


def is_gone(connection: socket.socket) -> bool:
    """Whether the service has closed the connection: one more byte of a body is refused."""
    try:
        connection.sendall(b" ")
    except OSError:
        return True
    return False


def read_all(connection: socket.socket) -> bytes:
    """What comes until the service closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


class Stalled:
    """A host whose thumbnails never arrive: no connection to `listener` is accepted."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/never.jpg"


@pytest.fixture
def stalled() -> Iterator[Stalled]:
    """A host of this test's own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Stalled(listener)


def test_full_service_is_503_for_scores_and_open_for_the_rest(caller: Caller, stalled: Stalled) -> None:
    """Once all places are taken, a score is refused with Retry-After; health and metrics still answer."""
    shed = caller.metric("miles_shed_total")
    with caller.holding(PLACES, stalled):
        refused = caller.post(TITLE)
        others = [
            caller.http.get(path).status_code for path in ("/", "/health/ready", "/metrics", "/model/info")
        ]
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:miles:problem:overloaded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert others == [200] * 4
    assert caller.metric("miles_shed_total") == shed + 1
    assert 'route="/predict",status="503"' in caller.http.get("/metrics").text
    assert caller.post(TITLE).status_code == 200


def test_full_service_refuses_before_the_body_is_sent(caller: Caller, stalled: Stalled) -> None:
    """A client that has sent only the head of its request is refused at once."""
    with caller.holding(PLACES, stalled), caller.raw(caller.head(1000)) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 503")


def test_batch_takes_the_places_that_are_left(caller: Caller, stalled: Stalled) -> None:
    """With one place left a batch of three gets one score, and two problems that say overloaded."""
    with caller.holding(PLACES - 1, stalled):
        answer = caller.post({"videos": [TITLE] * 3}, "/predict/batch")
    entries = answer.json()["predictions"]
    assert answer.status_code == 200
    assert "viral_score" in entries[0]
    assert [entry["error"]["type"] for entry in entries[1:]] == ["urn:miles:problem:overloaded"] * 2


@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_client_that_leaves_frees_its_places(caller: Caller, stalled: Stalled, path: str) -> None:
    """When a client hangs up its videos give their places back before their deadline, and are counted."""
    abandoned, late = caller.metric("miles_abandoned_total"), caller.metric("miles_deadline_missed_total")
    video = TITLE | {"thumbnail_url": stalled.url}
    body = json.dumps(video if path == "/predict" else {"videos": [video, video]}).encode()
    with caller.raw(caller.head(len(body)).replace(b"/predict", path.encode()), body):
        until(lambda: caller.metric("miles_queue_videos") > 0)
    until(lambda: caller.metric("miles_queue_videos") == 0)
    assert caller.metric("miles_abandoned_total") == abandoned + (1 if path == "/predict" else 2)
    assert caller.metric("miles_deadline_missed_total") == late


def test_limit_counts_the_videos_of_a_batch(caller: Caller) -> None:
    """Of a batch of thirty, twenty videos are judged and ten get a 429; so does the next request."""
    batch = caller.post({"videos": [{"title": ""}] * 30}, "/predict/batch")
    entries = batch.json()["predictions"]
    assert [entry["error"]["status"] for entry in entries] == [422] * 20 + [429] * 10
    assert batch.headers["ratelimit"] == '"videos";r=0;t=60'
    after = caller.post(TITLE)
    assert after.status_code == 429
    assert after.headers["retry-after"]
    assert after.headers["x-request-id"]
    assert caller.http.get("/").status_code == 200


def test_key_is_asked_for_before_the_limit(caller: Caller) -> None:
    """A client without a valid key does not use up the limit, and can read its refusal in a browser."""
    headers = {"Authorization": "Bearer nobody", "Origin": "http://localhost:3000"}
    for _ in range(25):
        refused = caller.http.post("/predict", json=TITLE, headers=headers)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert caller.post(TITLE).status_code == 200


def test_slow_body_is_408_and_its_connection_is_closed(caller: Caller) -> None:
    """A body that is shorter than declared is a 408 when its time is up, and nothing more is read."""
    answer = read_all(caller.raw(caller.head(100), b'{"title":'))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"application/problem+json" in answer
    assert b"connection: close" in answer.lower()


def test_body_that_trickles_is_408_too(caller: Caller) -> None:
    with caller.raw(caller.head(1000)) as connection:
        stop = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(0.1):
                    connection.sendall(b" ")

        thread = threading.Thread(target=trickle)
        thread.start()
        answer = connection.recv(65536)
        stop.set()
        thread.join()
    assert answer.startswith(b"HTTP/1.1 408")


def test_head_that_does_not_come_ends_the_connection(caller: Caller) -> None:
    """A connection without a whole request is closed when its time is up."""
    starts = [b"", b"\r\n", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "]
    connections = [caller.raw(sent) for sent in starts]
    assert [read_all(connection) for connection in connections] == [b""] * len(starts)


def test_second_head_that_does_not_come_ends_the_connection(caller: Caller) -> None:
    """An earlier answer gives the next request no extra time."""
    whole = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    connection = caller.raw(whole)
    answer = b""
    while not answer.endswith(b"}"):  # head and body may arrive separately
        answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200")
    connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
    assert read_all(connection) == b""


def test_refused_body_that_does_not_end_ends_the_connection(caller: Caller) -> None:
    """After a refusal the rest of a body is not read for ever."""
    with caller.raw(caller.head(10**9)) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        until(lambda: is_gone(connection))


def test_expect_continue_is_answered(caller: Caller) -> None:
    """A client that sends `Expect: 100-continue` gets 100 Continue before it sends its body."""
    body = json.dumps(TITLE).encode()
    head = caller.head(len(body)).replace(b"Host:", b"Expect: 100-continue\r\nConnection: close\r\nHost:")
    with caller.raw(head) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_upgrade_is_not_taken(caller: Caller) -> None:
    """A WebSocket handshake is a request like any other: this service has no WebSockets."""
    lines = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n"
    with caller.raw(lines) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_work_of_a_finished_test_is_gone(caller: Caller, host: ThumbnailHost) -> None:
    """After all of these tests a picture is scored as usual."""
    answer = caller.post(TITLE | {"thumbnail_url": host.thumbnail()})
    assert answer.json()["modalities"]["image"]["state"] == "used"
