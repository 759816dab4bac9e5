"""What a real service logs about hostile requests: one line each, and none of their text."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.observability.logs import MAX_LINES
from tests.support.process import LIMIT_S, answers, free_port, stop, until
from tests.support.service import ROOT, environment, ready_service
from tests.support.thumbnail_host import ThumbnailHost

# Occurs in everything that a client may write: text, paths, queries, credentials, headers, keys. Only the
# name of a thumbnail's host is logged, so that an operator can see whose pictures fail.
PRIVATE = "qzx7private"
NASTY = (
    {"title": f"{PRIVATE} title", "description": f"{PRIVATE}\n" * 3000},
    {"title": f'{PRIVATE}"}}\n{{"event":"forged","level":"info"}}'},
    {"title": f"\x1b[31m{PRIVATE}\x00\u2028\ud7ff"},
    {
        "title": PRIVATE,
        "thumbnail_url": f"http://user:{PRIVATE}@localhost:1/{PRIVATE}.jpg?{PRIVATE}#{PRIVATE}",
    },
    {"title": PRIVATE, "thumbnail_url": f"http://unheard-of.invalid/{PRIVATE}"},
    {"title": PRIVATE, "thumbnail_url": f"http://localhost:1/{PRIVATE}"},
    {"title": PRIVATE, "thumbnail_url": f"data:image/png;base64,{PRIVATE}"},
    {"title": PRIVATE, "thumbnail_url": f"gopher://{PRIVATE}"},
    {"title": PRIVATE, "thumbnail_url": f"http://[::1%25{PRIVATE}]/"},
    {"title": PRIVATE, "thumbnail_url": f"{PRIVATE}"},
    {"title": PRIVATE, PRIVATE: PRIVATE, "view_count": PRIVATE},
    {"title": PRIVATE, "published_at": PRIVATE},
    {"title": PRIVATE * 100, "require": [PRIVATE]},
    {"title": PRIVATE, "require": ["image"], "thumbnail_url": f"http://localhost:1/{PRIVATE}"},
)


def ask(client: httpx.Client, host: ThumbnailHost) -> int:
    """Send everything nasty, and return the number of requests."""
    for body in NASTY:
        client.post("/predict", json=body)
    broken = (f'{{"title": "{PRIVATE}', f'"{PRIVATE}"', f'{{"title": {PRIVATE}}}')
    for text in broken:
        client.post("/predict", content=text, headers={"Content-Type": "application/json"})
    client.post("/predict/batch", json={"videos": [*NASTY, PRIVATE, None]})
    for path in ("page.html", "missing.jpg", "huge.jpg"):
        url = f"{host.url}/{path}#{PRIVATE}"
        client.post("/predict", json={"title": PRIVATE, "thumbnail_url": url})
    client.get(f"/{PRIVATE}?{PRIVATE}")
    client.post(
        f"/predict?{PRIVATE}", json={"title": "plain"}, headers={"X-Request-ID": f"{PRIVATE} \t{PRIVATE}"}
    )
    client.post("/predict", content=PRIVATE, headers={"Content-Type": f"text/{PRIVATE}"})
    credentials = {"Authorization": f"Bearer {PRIVATE}", "Cookie": PRIVATE, "User-Agent": PRIVATE}
    client.get("/model/info", headers=credentials | {"Origin": f"https://{PRIVATE}.example"})
    return len(NASTY) + len(broken) + 1 + 3 + 4


@pytest.fixture(scope="module")
def written(
    tiny_bundle: Path, host: ThumbnailHost, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, list[str]]:
    """How many requests a service received, and every line that it logged from the first one on."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    settings = {
        "checkpoint": tiny_bundle,
        "thumbnail_trusted_networks": "127.0.0.0/8,::1/128",
        "thumbnail_timeout_s": 6,  # even a good answer takes a while on a busy machine
    }
    with (
        ready_service(log, **settings) as service,
        httpx.Client(base_url=service.url, timeout=60, headers={"X-Seen": "1"}) as client,
    ):
        before = len(log.read_text().splitlines())
        requests = ask(client, host)
        service.stop()
    return requests, log.read_text().split("\n")[before:-1]


def lines(written: tuple[int, list[str]]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written[1]]


def test_every_line_is_one_object_with_time_and_level(written: tuple[int, list[str]]) -> None:
    """Whatever was sent, each line is one JSON object; a line break in a request does not forge one."""
    assert lines(written)
    assert all({"event", "level", "timestamp"} <= line.keys() for line in lines(written))
    assert "forged" not in {line["event"] for line in lines(written)}


def test_nothing_that_a_client_wrote_is_in_the_log(written: tuple[int, list[str]]) -> None:
    """No title, description, path, query, key, header or credential is in any line."""
    assert [line for line in written[1] if PRIVATE in line] == []


def test_no_address_of_a_client_is_in_the_log(written: tuple[int, list[str]]) -> None:
    """Clients are known by their request's id alone; a thumbnail's host may be given as an address."""
    address = re.compile(r"\d+\.\d+\.\d+\.\d+|::1")
    found = [line for line in lines(written) if address.search(json.dumps({**line, "timestamp": ""}))]
    assert [line for line in found if line["event"] != "thumbnail_failed"] == []


def test_each_request_has_one_line_with_its_id(written: tuple[int, list[str]]) -> None:
    """Method, route, status and seconds, under an id that no other request has."""
    # A thread writes the log, so the last readiness probe may be among the lines.
    found = [line for line in lines(written) if line["event"] == "request"]
    mine = [line for line in found if line["route"] not in ("/", "/health/ready")]
    assert len(mine) == written[0], [(line["method"], line["route"], line["status"]) for line in mine]
    assert len({line["request_id"] for line in mine}) == len(mine)
    for line in mine:
        assert {"method", "route", "status", "seconds"} <= line.keys()


def test_a_failed_thumbnail_says_why_under_its_request(written: tuple[int, list[str]]) -> None:
    """The reason is one of those that an answer may give, and the line has the request's id."""
    failed = [line for line in lines(written) if line["event"] == "thumbnail_failed"]
    known = {
        "bad_url",
        "forbidden",
        "http_404",
        "unreachable",
        "unsupported_format",
        "not_an_image",
        "too_large",
    }
    assert {line["reason"] for line in failed} == known
    assert {line["request_id"] for line in failed} <= {
        line["request_id"] for line in lines(written) if line["event"] == "request"
    }


def test_the_level_is_a_setting(tiny_bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    with ready_service(log, checkpoint=tiny_bundle, log_level="warning") as service:
        assert httpx.post(f"{service.url}/predict", json={"title": "plain"}).status_code == 200
        service.stop()
    assert "request" not in log.read_text()


def ask_often(port: int, times: int) -> None:
    """GET an unknown path, without waiting for an answer before the next request."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as connection:
        for start in range(0, times, 100):
            wanted, answered = min(100, times - start), b""
            connection.sendall(b"GET /unknown HTTP/1.1\r\nHost: x\r\n\r\n" * wanted)
            while answered.count(b"HTTP/1.1 404 ") < wanted:
                received = connection.recv(65_536)
                assert received, answered
                answered += received


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.hostile)])
def test_a_log_that_is_not_read_stops_nothing(tiny_path: Path, number: int) -> None:
    """With a full pipe for its log the service answers, counts the lines that it drops, and ends."""
    port = free_port()
    settings = environment(checkpoint=tiny_path, precision="f32", host="127.0.0.1", port=port)
    unread, log = os.pipe()
    service = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=settings, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT_S) as client:
            until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"))
            ask_often(port, MAX_LINES + 1000)
            dropped = re.search(r"^miles_log_dropped_total (\S+)$", client.get("/metrics").text, re.MULTILINE)
            assert dropped
            assert float(dropped[1]) > 0
            assert client.post("/predict", json={"title": "x"}).status_code == 200
        service.send_signal(number)
        assert service.wait(LIMIT_S) == 0
    finally:
        stop(service)
        os.close(log)
        os.close(unread)


def test_a_terminal_shows_sentences_and_a_pipe_json(tiny_path: Path) -> None:
    """On a terminal the log is short text that says where the service is ready; elsewhere it is JSON."""
    port = free_port()
    settings = environment(checkpoint=tiny_path, precision="f32", host="127.0.0.1", port=port)
    ours, terminal = pty.openpty()
    service = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=settings, stderr=terminal)
    os.close(terminal)
    shown = b""
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health/ready"))
        assert httpx.post(f"http://127.0.0.1:{port}/predict", json={"title": "x"}).status_code == 200
        while b"POST /predict" not in shown:
            shown += os.read(ours, 65_536)
    finally:
        stop(service)
        os.close(ours)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    ready = f"Miles is ready: http://127.0.0.1:{port} ({tiny_path}, text f32, image f32, fusion f32)"
    assert ready in text, text
    assert re.search(r"^\d\d:\d\d:\d\d .*POST /predict 200 in \d+\.\d{3} s", text, re.MULTILINE), text
    assert "{" not in text
    assert "info" not in text


def test_a_terminal_without_colours_gets_none() -> None:
    """With NO_COLOR or TERM=dumb, no escape sequences are sent."""
    line = "from serving.observability.logs import configure_logging as to; to('auto', 'info'); "
    line += "import structlog; structlog.get_logger().info('hello', number=5)"
    found = {}
    for name, value in (("NO_COLOR", ""), ("NO_COLOR", "1"), ("TERM", "dumb")):
        ours, terminal = pty.openpty()
        settings = environment() | {"TERM": "xterm"} | {name: value}
        subprocess.run([sys.executable, "-c", line], cwd=ROOT, env=settings, stderr=terminal, check=True)
        os.close(terminal)
        found[name, value] = b"\x1b[" in os.read(ours, 65_536)
        os.close(ours)
    assert found == {("NO_COLOR", ""): True, ("NO_COLOR", "1"): False, ("TERM", "dumb"): False}
