"""Fetching from a server that behaves, and from many that do not."""

import asyncio
import socket
import struct

import pytest

from preprocessing.image import BadUrlError, ImageTooLargeError, NotAnImageError, decode_image
from preprocessing.thumbnails.fetcher import LARGE_BYTES, MAX_LARGE, ThumbnailFetcher
from preprocessing.thumbnails.policy import ForbiddenUrlError, UnreachableError
from tests.preprocessing.thumbnails.hostile_urls import BAD, FORBIDDEN
from tests.support.pictures import encoded, picture
from tests.support.site import (
    PATIENCE_S,
    Answer,
    CountingNetwork,
    Names,
    ok,
    raw,
    raw_then_close,
    response,
    serving,
    trusting,
)

pytestmark = pytest.mark.anyio
JPEG = encoded(picture(), "JPEG")


def redirecting(*locations: bytes, status: int = 302) -> Answer:
    """/0 leads to the first location, /1 to the second, and any other path to a picture."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        step = path.removeprefix("/")
        if step.isdigit() and int(step) < len(locations):
            writer.write(response(status, b"", b"Location: " + locations[int(step)]))
        else:
            writer.write(ok(JPEG))

    return answer


async def test_a_picture_is_fetched() -> None:
    """The bytes arrive as they were sent, for one plain request that carries no cookie and no referrer."""
    async with (
        serving(raw(ok(JPEG, b"Content-Type: image/jpeg"))) as site,
        ThumbnailFetcher(trusting()) as fetcher,
    ):
        fetched = await fetcher.fetch(site.url("/vi/a b.jpg?x=1#top".replace(" ", "%20")))
    assert fetched == JPEG
    assert decode_image(fetched).shape == (224, 224, 3)
    lines = site.heads[0].split("\r\n")
    assert lines[0] == "GET /vi/a%20b.jpg?x=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{site.port}" in lines
    assert "Accept-Encoding: identity" in lines
    assert {line.split(":")[0] for line in lines[1:] if line} == {
        "Host",
        "User-Agent",
        "Accept",
        "Accept-Encoding",
    }


@pytest.mark.parametrize(
    "answer",
    [
        raw_then_close(b"HTTP/1.1 200 OK\r\n\r\n", JPEG),
        raw_then_close(b"HTTP/1.0 200 OK\r\n\r\n", JPEG),
        raw(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"%x\r\n" % len(JPEG),
            JPEG,
            b"\r\n0\r\n\r\n",
        ),
        raw(ok(JPEG, b"Content-Encoding: identity")),
        raw(ok(JPEG, b"Content-Type: text/html")),
        raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ok(JPEG)),
    ],
    ids=["until close", "HTTP/1.0", "chunked", "identity", "mislabelled", "early hints"],
)
async def test_each_framing_of_a_body_is_read(
    answer: Answer,
) -> None:
    """However a server frames its 200, and whatever type it claims, the body is what counts."""
    async with serving(answer) as site, ThumbnailFetcher(trusting()) as fetcher:
        assert await fetcher.fetch(site.url()) == JPEG


async def test_a_data_url_needs_no_network() -> None:
    """A picture in the URL itself is decoded, up to the cap, without a dial."""
    network = CountingNetwork()
    async with ThumbnailFetcher(trusting(max_bytes=2), network=network) as fetcher:
        assert await fetcher.fetch("data:image/png;base64,aGk=") == b"hi"
        with pytest.raises(ImageTooLargeError):
            await fetcher.fetch("data:image/png;base64,aGkh")
        with pytest.raises(BadUrlError):
            await fetcher.fetch("data:text/plain,hi")
    assert network.dials == []


async def test_hostile_urls_open_no_socket() -> None:
    """Every URL that is refused as written is refused before any look-up and any dial."""
    network, names = CountingNetwork(), Names(["127.0.0.1"])
    async with ThumbnailFetcher(resolve=names, network=network) as fetcher:
        for expected, urls in ((BadUrlError, BAD), (ForbiddenUrlError, FORBIDDEN)):
            for url in urls:
                with pytest.raises(expected):
                    await fetcher.fetch(url)
    assert len(BAD) + len(FORBIDDEN) >= 120
    assert (network.dials, names.asked) == ([], [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_three_redirects_are_followed(status: int) -> None:
    """A chain of three ends at its picture, relative and absolute hops alike."""
    answer = redirecting(b"/1", b"2", b"/done.jpg?q", status=status)
    async with serving(answer) as site, ThumbnailFetcher(trusting()) as fetcher:
        assert await fetcher.fetch(site.url("/0")) == JPEG
    assert site.paths == ["/0", "/1", "/2", "/done.jpg?q"]


async def test_a_fourth_redirect_is_refused() -> None:
    """A chain of four is given up where the fourth begins."""
    async with (
        serving(redirecting(b"/1", b"/2", b"/3", b"/done")) as site,
        ThumbnailFetcher(trusting()) as fetcher,
    ):
        with pytest.raises(UnreachableError, match="more than 3 redirects"):
            await fetcher.fetch(site.url("/0"))
    assert site.paths == ["/0", "/1", "/2", "/3"]


async def test_a_loop_is_left() -> None:
    """A page that redirects to itself is asked four times."""
    async with serving(redirecting(b"/0")) as site, ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(UnreachableError):
            await fetcher.fetch(site.url("/0"))
    assert site.paths == ["/0"] * 4


@pytest.mark.parametrize(
    "location",
    [
        b"http://169.254.169.254/latest/meta-data/", b"//10.0.0.1/", b"http://[::1]/", b"http://user:p@127.0.0.1/",
        b"http://1.1.1.1:6379/", b"file:///etc/passwd", b"data:image/png;base64,aGk=",
        b"http://0x7f.1/", b"\\\\127.0.0.1",
        b"/\xc3\xbc", b"/" + b"a" * 5000, b"http://private.example/",
    ],
    ids=lambda location: ascii(location)[:40],
)  # fmt: skip
async def test_a_redirect_is_vetted_like_a_url(location: bytes) -> None:
    """A hop to a place that may not be asked makes the thumbnail unreachable, and the hop is not dialled."""
    network = CountingNetwork()
    async with (
        serving(redirecting(location)) as site,
        ThumbnailFetcher(trusting(), network=network, resolve=Names(["10.0.0.1"])) as fetcher,
    ):
        with pytest.raises(UnreachableError):
            await fetcher.fetch(site.url("/0"))
    assert network.dials == [("127.0.0.1", site.port)]


@pytest.mark.parametrize(
    "headers", [(), (b"Location: /a", b"Location: /b"), (b"Refresh: 0; url=/a",)], ids=str
)
async def test_a_redirect_names_one_place(headers: tuple[bytes, ...]) -> None:
    """A redirect to nowhere, or to two places, is unreachable."""
    async with serving(raw(response(302, b"", *headers))) as site, ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(UnreachableError, match="Location headers, expected 1"):
            await fetcher.fetch(site.url())


@pytest.mark.parametrize("status", [201, 203, 206, 300, 305, 400, 401, 403, 404, 410, 429, 500, 503])
async def test_other_statuses_are_unreachable(status: int) -> None:
    """Only 200 counts: a 404 with a valid JPEG, as YouTube sends it, is no thumbnail."""
    async with serving(raw(response(status, JPEG))) as site, ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(UnreachableError, match=f"answered {status}, expected 200"):
            await fetcher.fetch(site.url())


@pytest.mark.parametrize(
    "coding", [b"gzip", b"br", b"zstd", b"deflate", b"gzip, gzip", b"identity, gzip", b"x-foo"]
)
async def test_an_encoded_body_is_refused(coding: bytes) -> None:
    """A body in a coding that was not asked for is not unfolded."""
    answer = raw(ok(JPEG, b"Content-Encoding: " + coding))
    async with serving(answer) as site, ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(UnreachableError, match="compressed body"):
            await fetcher.fetch(site.url())


@pytest.mark.parametrize(
    "headers",
    [
        (b"Content-Type: image/png, text/html",),
        (b"Content-Type: image/png text/html",),
        (b"Content-Type: image/png; q=1, text/html",),
        (b"Content-Type: image/png", b"Content-Type: text/html"),
    ],
    ids=str,
)
async def test_a_content_type_is_one(headers: tuple[bytes, ...]) -> None:
    """An answer that claims to be two things at once is no image."""
    async with serving(raw(ok(JPEG, *headers))) as site, ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(NotAnImageError, match="more than one Content-Type"):
            await fetcher.fetch(site.url())


@pytest.mark.parametrize("claimed", [b"", b"image/jpeg; charset=x y", b"jpeg", b"application/pdf ; a"])
async def test_any_one_content_type_is_taken(claimed: bytes) -> None:
    """A type that is wrong, odd or empty is still one, and the bytes decide."""
    answer = raw(ok(JPEG, b"Content-Type: " + claimed))
    async with serving(answer) as site, ThumbnailFetcher(trusting()) as fetcher:
        assert await fetcher.fetch(site.url()) == JPEG


async def test_a_body_has_one_length() -> None:
    """A body with a length and with chunks has two ends; neither is believed."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
    async with (
        serving(raw(head, b"5\r\nhello\r\n0\r\n\r\n")) as site,
        ThumbnailFetcher(trusting()) as fetcher,
    ):
        for _ in range(2):
            with pytest.raises(UnreachableError, match="both Content-Length and Transfer-Encoding"):
                await fetcher.fetch(site.url())
    assert site.connections == 2


BROKEN = {
    "nothing": b"",
    "garbage": b"\x00\x01\x02 garbage\r\n\r\n",
    "HTTP/0.9": JPEG,
    "shoutcast": b"ICY 200 OK\r\n\r\n" + JPEG,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "header of 200 kB": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\nhello",
    "length negative": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "length signed": b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "length of two minds": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length in a list": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
    "length of 31 digits": b"HTTP/1.1 200 OK\r\nContent-Length: 1" + b"0" * 30 + b"\r\n\r\nhello",
    "length beyond the body": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "chunk size no number": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "chunk size negative": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "last chunk missing": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "transfer coding unknown": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
    "no body": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello",
    "status of 4 digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_answer_is_unreachable(kind: str) -> None:
    """Whatever a server sends that is no whole HTTP answer is unreachable, and the next server is not."""
    async with (
        serving(raw_then_close(BROKEN[kind])) as site,
        serving(raw(ok(JPEG))) as sound,
        ThumbnailFetcher(trusting()) as fetcher,
    ):
        with pytest.raises(UnreachableError, match=r"^127\.0\.0\.1 "):
            await fetcher.fetch(site.url())
        assert await fetcher.fetch(sound.url()) == JPEG


async def test_a_refused_connection_is_unreachable() -> None:
    """A port on which nobody listens is unreachable."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(UnreachableError, match="cannot connect to"):
            await fetcher.fetch(f"http://127.0.0.1:{port}/")


async def test_a_reset_connection_is_unreachable() -> None:
    """A server that resets in the middle of a body is unreachable."""

    async def reset(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhello")
        await writer.drain()
        linger = struct.pack("ii", 1, 0)  # close with RST
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async with serving(reset) as site, ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(UnreachableError, match="no valid HTTP response"):
            await fetcher.fetch(site.url())


@pytest.mark.parametrize("announced", [True, False])
async def test_the_cap_is_exact(announced: bool) -> None:
    """As many bytes as the cap are taken, and one more is too large, announced or not."""
    answer = raw(ok(JPEG)) if announced else raw_then_close(b"HTTP/1.1 200 OK\r\n\r\n", JPEG)
    async with serving(answer) as site:
        async with ThumbnailFetcher(trusting(max_bytes=len(JPEG))) as fetcher:
            assert await fetcher.fetch(site.url()) == JPEG
        async with ThumbnailFetcher(trusting(max_bytes=len(JPEG) - 1)) as fetcher:
            with pytest.raises(ImageTooLargeError):
                await fetcher.fetch(site.url())


async def test_an_announced_flood_is_not_read() -> None:
    """A Content-Length beyond the cap is enough: the body is never sent and the connection ends."""
    answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
    async with serving(answer) as site, ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(ImageTooLargeError, match="announced 99999999 bytes"):
            await fetcher.fetch(site.url())
        async with asyncio.timeout(PATIENCE_S):
            await site.hung_up.wait()


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"], ids=["plain", "chunked"])
async def test_an_endless_flood_is_cut_off(head: bytes) -> None:
    """A body that never ends is cut at the cap: the server sees the connection go."""

    async def flood(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        while True:
            writer.write(b"1000\r\n" + bytes(0x1000) + b"\r\n" if head else bytes(0x1000))
            await writer.drain()

    async with serving(flood) as site, ThumbnailFetcher(trusting(max_bytes=100_000)) as fetcher:
        with pytest.raises(ImageTooLargeError, match="more than 100000 bytes"):
            await fetcher.fetch(site.url())
        async with asyncio.timeout(PATIENCE_S):
            await site.hung_up.wait()


async def test_few_large_bodies_are_taken_at_once() -> None:
    """Of twelve bodies that stop beyond half a megabyte eight are read on; a small one passes them all."""
    read_on: list[str] = []
    eight, ninth = asyncio.Event(), asyncio.Event()

    async def stop_late(path: str, writer: asyncio.StreamWriter) -> None:
        if path == "/small":
            writer.write(ok(JPEG))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (32 * LARGE_BYTES))
        for _ in range(31):  # more than the kernel's buffers take from a body that is not read on
            writer.write(bytes(LARGE_BYTES))
            await writer.drain()
        read_on.append(path)
        if len(read_on) >= MAX_LARGE:
            (eight if len(read_on) == MAX_LARGE else ninth).set()

    limits = trusting(timeout_s=PATIENCE_S, max_bytes=32 * LARGE_BYTES)
    async with serving(stop_late) as site, ThumbnailFetcher(limits) as fetcher:
        hanging = [asyncio.create_task(fetcher.fetch(site.url(f"/{number}"))) for number in range(12)]
        async with asyncio.timeout(PATIENCE_S):
            await eight.wait()
            assert await fetcher.fetch(site.url("/small")) == JPEG
            assert not ninth.is_set()
            hanging[int(read_on[0].strip("/"))].cancel()  # whoever leaves makes room
            await ninth.wait()
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


async def drip(_path: str, writer: asyncio.StreamWriter) -> None:
    """A byte at a time, often enough that no single read is slow."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def drip_head(_path: str, writer: asyncio.StreamWriter) -> None:
    """A head that never ends."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X: a\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def early_hints(_path: str, writer: asyncio.StreamWriter) -> None:
    """Hints and hints and never an answer."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def half(_path: str, writer: asyncio.StreamWriter) -> None:
    """Half a picture, then silence."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(JPEG) + JPEG[: len(JPEG) // 2])


@pytest.mark.parametrize(
    "answer", [drip, drip_head, early_hints, half, raw()], ids=lambda answer: answer.__name__
)
async def test_one_deadline_covers_everything(
    answer: Answer,
) -> None:
    """However slowly a server answers, the deadline of the whole ends it, and the connection goes."""
    async with serving(answer) as site, ThumbnailFetcher(trusting(timeout_s=0.3)) as fetcher:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(UnreachableError, match=r"complete response within 0\.3 s"):
                await fetcher.fetch(site.url())
            await site.hung_up.wait()


async def test_the_deadline_spans_redirects() -> None:
    """Each hop is quick enough for itself, and together they are too slow."""

    async def slow(_path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(response(302, b"", b"Location: /again"))

    async with serving(slow) as site, ThumbnailFetcher(trusting(timeout_s=0.5)) as fetcher:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(UnreachableError, match="complete response"):
                await fetcher.fetch(site.url())
    assert len(site.heads) < 4, "four answers of 0.3 s do not fit into 0.5 s"


async def test_a_slow_server_does_not_hold_up_others() -> None:
    """While twenty fetches hang on one server, another server's picture arrives."""
    async with (
        serving(half) as slow,
        serving(raw(ok(JPEG))) as quick,
        ThumbnailFetcher(trusting(timeout_s=PATIENCE_S)) as fetcher,
    ):
        hanging = [asyncio.create_task(fetcher.fetch(slow.url())) for _ in range(20)]
        async with asyncio.timeout(PATIENCE_S):
            assert await fetcher.fetch(quick.url()) == JPEG
        for task in hanging:
            task.cancel()
        ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


async def test_a_connection_serves_again_after_a_whole_body() -> None:
    """Two pictures of one host come over one connection."""
    async with serving(raw(ok(JPEG))) as site, ThumbnailFetcher(trusting()) as fetcher:
        assert [await fetcher.fetch(site.url()) for _ in range(2)] == [JPEG, JPEG]
    assert site.connections == 1


async def test_a_connection_is_not_reused_after_an_aborted_body() -> None:
    """What is left of a body that was cut off can never be read as the next answer."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(bytes(5000) + ok(b"smuggled") if path == "/large" else b"honest"))

    async with serving(answer) as site, ThumbnailFetcher(trusting(max_bytes=1000)) as fetcher:
        with pytest.raises(ImageTooLargeError):
            await fetcher.fetch(site.url("/large"))
        assert await fetcher.fetch(site.url("/small")) == b"honest"
    assert site.connections == 2


async def test_a_cancelled_fetch_hangs_up() -> None:
    """A fetch whose client has left closes its connection."""
    async with serving(half) as site, ThumbnailFetcher(trusting(timeout_s=PATIENCE_S)) as fetcher:
        task = asyncio.create_task(fetcher.fetch(site.url()))
        async with asyncio.timeout(PATIENCE_S):
            await site.asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await site.hung_up.wait()


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies in the environment are for other programs: an address is dialled by its own name."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    network = CountingNetwork()
    async with serving(raw(ok(JPEG))) as site, ThumbnailFetcher(trusting(), network=network) as fetcher:
        await fetcher.fetch(site.url())
    assert network.dials == [("127.0.0.1", site.port)]


async def test_one_host_gets_a_part_of_the_connections() -> None:
    """Of forty thumbnails on one host, never more than the policy's share are asked for at once."""
    now, most = 0, 0

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.005)
        now -= 1
        writer.write(ok(JPEG))

    async with serving(answer) as site, ThumbnailFetcher(trusting(max_connections_per_host=3)) as fetcher:
        fetched = await asyncio.gather(*(fetcher.fetch(site.url(f"/{index}.jpg")) for index in range(40)))
    assert fetched == [JPEG] * 40
    assert most == 3
