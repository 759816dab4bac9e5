"""The cache that replicas share, on a real server that is stopped, killed and filled with rubbish."""

import asyncio
import re
import signal
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from redis import Redis

from serving.scoring.cache import KEY_BYTES
from serving.scoring.shared_cache import (
    HEAD,
    MAX_FAILURES,
    PREFIX,
    PROBE_INTERVAL_S,
    SUCCESSES_PER_FAILURE,
    SharedCache,
    packed,
    unpacked,
)
from serving.settings import Settings, SettingsError
from tests.support.process import LIMIT_S, PLAIN, until
from tests.support.redis_server import Server, cache_server, slowed
from tests.support.service import Service, ready_service
from tests.support.thumbnail_host import ThumbnailHost

KEY = bytes(range(KEY_BYTES))
VECTOR = np.linspace(-1, 1, 64, dtype=np.float32)
LOOKUP_S = 1.0  # an answer without delay is in time even on a busy machine
AT_ONCE = 12  # look-ups of one batch: all may be under way when the server stops


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with cache_server(tmp_path) as running:
        yield running


async def until_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while not condition():  # noqa: ASYNC110 the cache has no event for it
            await asyncio.sleep(0.01)


@dataclass
class Replica:
    service: Service

    def score(self, *titles: str, **fields: object) -> list[dict[str, Any]]:
        """The answers of a batch, with what was cached."""
        videos = [{"title": title, **fields} for title in titles]
        answer = httpx.post(
            f"{self.service.url}/predict/batch?timings=1", json={"videos": videos}, timeout=LIMIT_S
        )
        entries: list[dict[str, Any]] = answer.json()["predictions"]
        return entries

    def counted(self, name: str, outcome: str = "") -> float:
        label = f'{{outcome="{outcome}"}}' if outcome else ""
        text = httpx.get(f"{self.service.url}/metrics", verify=PLAIN).text
        found = re.search(rf"^{re.escape(name + label)} (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def is_up(self) -> bool:
        """Whether it uses the server."""
        return self.counted("miles_shared_cache_up") == 1


@contextmanager
def replica(log: Path, tiny_bundle: Path, server: Server, timeout_s: float = 1) -> Iterator[Replica]:
    """A ready service that has found the server, and waits longer for it than one in production would."""
    with ready_service(
        log,
        checkpoint=tiny_bundle,
        shared_cache_url=server.url,
        shared_cache_timeout_s=timeout_s,
        thumbnail_trusted_networks="127.0.0.0/8",
    ) as service:
        running = Replica(service)
        until(running.is_up)
        yield running


def test_replicas_share_vectors(
    server: Server, tiny_bundle: Path, host: ThumbnailHost, tmp_path: Path
) -> None:
    """A video that one replica has scored costs the other no forward of a tower, and scores the same."""
    video: dict[str, Any] = {
        "thumbnail_url": host.thumbnail(41),
        "published_at": "2018-01-01T00:00:00Z",
        "observed_at": "2018-01-02T00:00:00Z",
    }
    with (
        replica(tmp_path / "one", tiny_bundle, server, 10) as one,
        replica(tmp_path / "two", tiny_bundle, server, 10) as two,
    ):
        (first,) = one.score("shared words", **video)
        until(lambda: one.counted("miles_shared_cache_writes_total", "stored") == 2)
        (second,) = two.score("shared words", **video)
        assert two.counted("miles_shared_cache_lookups_total", "hit") == 2
    assert first["timings_ms"]["cached"] == []
    assert sorted(second["timings_ms"]["cached"]) == ["image", "text"]
    assert second["viral_score"] == first["viral_score"]


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_server_that_stops_costs_no_answer(
    server: Server, tiny_bundle: Path, tmp_path: Path, how: int
) -> None:
    """When the server hangs or dies all videos are scored; after the few look-ups under way it is not asked
    until it is back.
    """
    titles = [[f"words {number} {item}" for item in range(AT_ONCE)] for number in range(6)]
    with replica(tmp_path / "log", tiny_bundle, server) as one:
        answers = one.score(*titles[0])
        server.signal(how)
        for batch in titles[1:-1]:
            answers += one.score(*batch)
        assert not one.is_up()
        lost = sum(one.counted("miles_shared_cache_lookups_total", name) for name in ("late", "failed"))
        skipped = one.counted("miles_shared_cache_lookups_total", "skipped")
        server.come_back(how)
        until(one.is_up)
        misses = one.counted("miles_shared_cache_lookups_total", "miss")
        answers += one.score(*titles[-1])
        assert one.counted("miles_shared_cache_lookups_total", "miss") == misses + AT_ONCE
    assert all("viral_score" in answer for answer in answers)
    assert 1 <= lost < MAX_FAILURES + AT_ONCE
    assert lost + skipped == 4 * AT_ONCE


@pytest.mark.anyio
async def test_server_that_answers_too_late_is_left_alone(server: Server) -> None:
    """After a few late look-ups it is not asked, although it answers, until it is fast again."""
    with slowed(server) as between:
        async with SharedCache.open(between.url, 0.5) as cache:
            await until_true(lambda: cache.is_up)
            between.seconds = 1.5
            for _ in range(4 * MAX_FAILURES):
                assert await cache.get(KEY, len(VECTOR)) is None
            await asyncio.sleep(1.5 * PROBE_INTERVAL_S)  # long enough for a probe
            assert not cache.is_up
            assert await cache.get(KEY, len(VECTOR)) is None
            failed = cache.lookups["late"] + cache.lookups["failed"]
            assert (failed, cache.lookups["skipped"]) == (MAX_FAILURES, 3 * MAX_FAILURES + 1)
            between.seconds = 0.0
            await until_true(lambda: cache.is_up)
            await cache.get(KEY, len(VECTOR))
            assert cache.lookups["miss"] == 1


@pytest.mark.anyio
async def test_server_that_stumbles_often_is_left_alone(server: Server) -> None:
    """Look-ups that succeed in between do not help: if every other answer is too late, few are waited for."""
    with slowed(server) as between:
        async with SharedCache.open(between.url, LOOKUP_S) as cache:
            await until_true(lambda: cache.is_up)
            asked = 0
            while cache.is_up:
                between.seconds = 0.0 if asked % 2 else 3 * LOOKUP_S
                await cache.get(KEY, len(VECTOR))
                asked += 1
                assert asked < 4 * MAX_FAILURES, "never paused"
            assert (
                cache.lookups["late"] + cache.lookups["failed"]
                <= MAX_FAILURES + asked / SUCCESSES_PER_FAILURE + 1
            )


@pytest.mark.anyio
async def test_vector_comes_back_as_it_was(server: Server) -> None:
    """What one cache stores another finds, number by number; an unknown key is a miss."""
    async with SharedCache.open(server.url, LIMIT_S) as one, SharedCache.open(server.url, LIMIT_S) as two:
        await until_true(lambda: one.is_up and two.is_up)
        one.put(KEY, VECTOR)
        await until_true(lambda: one.writes["stored"] == 1)
        found = await two.get(KEY, len(VECTOR))
        assert await two.get(KEY[::-1], len(VECTOR)) is None
    assert found is not None
    assert np.array_equal(found, VECTOR)
    assert (two.lookups["hit"], two.lookups["miss"]) == (1, 1)


@pytest.mark.anyio
async def test_server_that_is_full_still_answers(server: Server) -> None:
    """Refused writes are counted; what is stored is found, however many writes are refused."""
    async with SharedCache.open(server.url, LIMIT_S) as cache:
        await until_true(lambda: cache.is_up)
        cache.put(KEY, VECTOR)
        await until_true(lambda: cache.writes["stored"] == 1)
        with Redis.from_url(server.url) as other:
            other.config_set("maxmemory", 1)
        for refused in range(1, 3 * MAX_FAILURES):
            cache.put(KEY[::-1], VECTOR)
            await until_true(lambda count=refused: cache.writes["failed"] == count)
        assert await cache.get(KEY, len(VECTOR)) is not None
        assert cache.is_up


@pytest.mark.anyio
async def test_rubbish_is_a_miss(server: Server) -> None:
    """A value that another program wrote under the key is ignored and counted."""
    with Redis.from_url(server.url) as other:
        other.set(PREFIX + KEY, b"rubbish")
    async with SharedCache.open(server.url, LIMIT_S) as cache:
        await until_true(lambda: cache.is_up)
        assert await cache.get(KEY, len(VECTOR)) is None
    assert cache.lookups["corrupt"] == 1


def test_only_a_whole_vector_of_this_key_is_believed() -> None:
    """Not one that is cut short, longer, altered, not finite, constant, or another tower's or key's."""
    value, width = packed(KEY, VECTOR), len(VECTOR)
    assert unpacked(KEY, value, width) is not None
    altered = [value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] for at in range(0, len(value), 7)]
    others = [VECTOR[:3], *(np.full(width, number, np.float32) for number in (np.nan, np.inf, 0, 0.5))]
    wrong = [
        b"",
        value[:-4],
        value[: HEAD.size],
        value + bytes(4),
        *altered,
        *(packed(KEY, v) for v in others),
    ]
    assert [each for each in wrong if unpacked(KEY, each, width) is not None] == []
    assert unpacked(KEY[::-1], value, width) is None


def test_only_a_vector_written_with_the_secret_is_believed() -> None:
    """With a secret, a vector written without it, with another secret or for another key is ignored."""
    secret, width = b"0123456789abcdef", len(VECTOR)
    entries = {
        "own": packed(KEY, VECTOR, secret),
        "none": packed(KEY, VECTOR),
        "another": packed(KEY, VECTOR, secret[::-1]),
        "another key": packed(KEY[::-1], VECTOR, secret),
    }
    believed = {name for name, entry in entries.items() if unpacked(KEY, entry, width, secret) is not None}
    assert believed == {"own"}
    assert unpacked(KEY, entries["own"], width) is None


Reply = bytes | Callable[[list[bytes]], bytes]


def forged(vector: NDArray[np.float32]) -> Callable[[list[bytes]], bytes]:
    """A reply that has this vector under every key, with a valid digest."""

    def reply(keys: list[bytes]) -> bytes:
        values = [packed(key.removeprefix(PREFIX), vector) for key in keys]
        return b"*%d\r\n" % len(keys) + b"".join(b"$%d\r\n%s\r\n" % (len(value), value) for value in values)

    return reply


REPLIES: dict[str, Reply] = {
    "too few values": b"*0\r\n",
    "not a number": b"*abc\r\n",
    "not a list": b"+OK\r\n",
    "numbers": b"*1\r\n:5\r\n",
    "a list in a list": b"*1\r\n*1\r\n$1\r\na\r\n",
    "two replies": b"*1\r\n$-1\r\n*1\r\n$1\r\na\r\n",
    "an error": b"-ERR no\r\n",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a short vector": forged(VECTOR[:3]),
    "a vector that is not finite": forged(np.full_like(VECTOR, np.nan)),
    "zeros": forged(np.zeros_like(VECTOR)),
}


@contextmanager
def lying_server(replies: list[Reply]) -> Iterator[str]:
    """A server whose look-ups are answered by the last of `replies`; its address."""

    class Lie(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                words = []
                for _ in range(int(line[1:])):
                    length = int(self.rfile.readline()[1:])
                    words.append(self.rfile.read(length + 2)[:-2])
                reply: Reply = b"+PONG\r\n" if words[0] == b"PING" else b"+OK\r\n"
                if words[0].upper() == b"MGET":
                    reply = replies[-1]
                self.wfile.write(reply if isinstance(reply, bytes) else reply(words[1:]))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Lie) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"redis://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.anyio
async def test_server_that_lies_is_survived() -> None:
    """Whatever it replies, a look-up finds nothing, and the next valid reply is read as usual."""
    failures = []
    for name, reply in REPLIES.items():
        replies: list[Reply] = [reply]
        with lying_server(replies) as url:
            async with SharedCache.open(url, LIMIT_S) as cache:
                await until_true(lambda cache=cache: cache.is_up)
                if await cache.get(KEY, len(VECTOR)) is not None:
                    failures.append((name, "believed"))
                replies.append(b"*1\r\n$-1\r\n")
                while not cache.lookups["miss"]:
                    await cache.get(KEY, len(VECTOR))
                    if cache.lookups["failed"] > 3:
                        failures.append((name, "not read again"))
                        break
    assert failures == []


@pytest.mark.anyio
async def test_background_task_that_fails_is_started_again(server: Server) -> None:
    """A fault in the cache itself makes it pause, and it is back after the next probe."""
    async with SharedCache.open(server.url, LIMIT_S) as cache:
        await until_true(lambda: cache.is_up)
        cache._to_read.put_nowait(None)  # type: ignore[arg-type]  # what no caller could put there
        await until_true(lambda: not cache.is_up)
        await until_true(lambda: cache.is_up)
        assert await cache.get(KEY, len(VECTOR)) is None
        assert cache.lookups["miss"] == 1


@pytest.mark.anyio
async def test_caches_with_one_secret_share_vectors(server: Server) -> None:
    """A cache with the secret finds what another one with it stored; one without it finds that corrupt."""
    secret = "0123456789abcdef"  # noqa: S105 a test's
    async with (
        SharedCache.open(server.url, LIMIT_S, secret) as one,
        SharedCache.open(server.url, LIMIT_S, secret) as two,
        SharedCache.open(server.url, LIMIT_S) as other,
    ):
        await until_true(lambda: one.is_up and two.is_up and other.is_up)
        one.put(KEY, VECTOR)
        await until_true(lambda: one.writes["stored"] == 1)
        assert await two.get(KEY, len(VECTOR)) is not None
        assert await other.get(KEY, len(VECTOR)) is None
    assert other.lookups["corrupt"] == 1


@pytest.mark.parametrize("url", ["http://host", "redis://", "host:6379", "redis:///0"])
def test_invalid_address_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An address of another kind ends the process; it may hold a password, so it is not printed."""
    monkeypatch.setenv("MILES_SHARED_CACHE_URL", f"{url}?word=secret")
    with pytest.raises(SettingsError, match="MILES_SHARED_CACHE_URL") as error:
        Settings.from_environment()
    assert "secret" not in str(error.value)


def test_without_the_setting_there_is_no_shared_cache(client: httpx.Client) -> None:
    assert "miles_shared_cache" not in client.get("/metrics").text
