"""Fetching from a server that behaves, and from many that do not."""

import asyncio
import gzip
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import count, cycle
from typing import Any

import pytest

from preprocessing.image import BadUrlError, ImageError, ImageTooLargeError
from preprocessing.pixels import decode_image
from preprocessing.thumbnails.fetcher import LARGE_BYTES, MAX_LARGE, ThumbnailFetcher
from preprocessing.thumbnails.policy import ForbiddenUrlError, ThumbnailPolicy, UnreachableError
from tests.preprocessing.thumbnails.hostile_urls import BAD, FORBIDDEN
from tests.support.pictures import encoded, picture
from tests.support.site import (
    PATIENCE_S,
    PUBLIC,
    Answer,
    CountingNetwork,
    Detour,
    Names,
    Site,
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


FRAMINGS: dict[str, Answer] = {
    "until close": raw_then_close(b"HTTP/1.1 200 OK\r\n\r\n", JPEG),
    "HTTP/1.0": raw_then_close(b"HTTP/1.0 200 OK\r\n\r\n", JPEG),
    "chunked": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(JPEG), JPEG, b"\r\n0\r\n\r\n"
    ),
    "identity": raw(ok(JPEG, b"Content-Encoding: identity")),
    "aws-chunked": raw(ok(JPEG, b"Content-Encoding: aws-chunked")),
    "unknown coding": raw(ok(JPEG, b"Content-Encoding: x-foo")),
    "br that is none": raw(ok(JPEG, b"Content-Encoding: br")),
    "gzip that is none": raw(ok(JPEG, b"Content-Encoding: gzip")),
    "gzip": raw(ok(gzip.compress(JPEG), b"Content-Encoding: gzip")),
    "gzip twice": raw(ok(gzip.compress(gzip.compress(JPEG)), b"Content-Encoding: gzip, gzip")),
    "mislabelled": raw(ok(JPEG, b"Content-Type: text/html")),
    "the same type twice": raw(ok(JPEG, *[b"Content-Type: image/jpeg"] * 2)),
    "early hints": raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ok(JPEG)),
    **{
        f"type {claimed!r}": raw(ok(JPEG, b"Content-Type: " + claimed))
        for claimed in (b"", b"image/jpeg; charset=x y", b"jpeg", b"application/pdf ; a")
    },
}


async def outcome(fetcher: ThumbnailFetcher, url: str) -> str:
    """`fetched`, or the reason and the text of the error."""
    try:
        await fetcher.fetch(url)
    except ImageError as exc:
        return f"{exc.reason}: {exc}"
    return "fetched"


async def outcomes(answers: Mapping[str, Answer], **limits: Any) -> dict[str, str]:
    """What becomes of a picture for each answer; each is another site's."""
    async with AsyncExitStack() as stack:
        fetcher = await stack.enter_async_context(ThumbnailFetcher(trusting(**limits)))
        sites = {name: await stack.enter_async_context(serving(answer)) for name, answer in answers.items()}
        return {name: await outcome(fetcher, site.url()) for name, site in sites.items()}


async def test_each_framing_of_a_body_is_read() -> None:
    """The body of a 200 counts, whatever its framing, type or coding is called."""
    assert await outcomes(FRAMINGS) == dict.fromkeys(FRAMINGS, "fetched")


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


async def test_five_redirects_are_followed() -> None:
    """Of any kind, relative and absolute, with a space or UTF-8 in the path."""
    locations = (b"/1", b"2", b"/3", b"/4", b"/d\xc3\xb6ne b.jpg?q")
    for status in (301, 302, 303, 307, 308):
        answer = redirecting(*locations, status=status)
        async with serving(answer) as site, ThumbnailFetcher(trusting()) as fetcher:
            assert await fetcher.fetch(site.url("/0")) == JPEG
        assert site.paths == ["/0", "/1", "/2", "/3", "/4", "/d%C3%B6ne%20b.jpg?q"]


async def test_more_redirects_than_the_policy_allows_are_refused() -> None:
    """A chain is left where the next one begins, and a loop is too."""
    answer, policy = redirecting(b"/1", b"/2", b"/2"), trusting(max_redirects=2)
    async with serving(answer) as site, ThumbnailFetcher(policy) as fetcher:
        with pytest.raises(UnreachableError, match="more than 2 redirects"):
            await fetcher.fetch(site.url("/0"))
    assert site.paths == ["/0", "/1", "/2"]


REFUSED_LOCATIONS = [
    b"http://169.254.169.254/latest/meta-data/", b"//10.0.0.1/", b"http://[::1]/", b"http://user:p@127.0.0.1/",
    b"http://1.1.1.1:6379/", b"file:///etc/passwd", b"data:image/png;base64,aGk=",
    b"http://0x7f.1/", b"\\\\127.0.0.1",
    b"/" + b"a" * 9000, b"/\xff", b"http://private.example/",
]  # fmt: skip


async def test_a_redirect_is_vetted_like_a_url() -> None:
    """A hop to a place that may not be asked makes the thumbnail unreachable, and the hop is not dialled."""
    network = CountingNetwork()
    async with ThumbnailFetcher(trusting(), network=network, resolve=Names(["10.0.0.1"])) as fetcher:
        for location in REFUSED_LOCATIONS:
            async with serving(redirecting(location)) as site:
                with pytest.raises(UnreachableError):
                    await fetcher.fetch(site.url("/0"))
            assert network.dials.pop() == ("127.0.0.1", site.port), location
            assert network.dials == [], location


async def test_a_redirect_names_one_place() -> None:
    """A redirect to nowhere, or to two places, is unreachable."""
    two = (b"Location: /a", b"Location: /b")
    answers = {str(each): raw(response(302, b"", *each)) for each in ((), two, (b"Refresh: 0; url=/a",))}
    assert all("Location headers, expected 1" in end for end in (await outcomes(answers)).values())


async def test_other_statuses_are_the_reason() -> None:
    """Only 200 counts: a 404 with a valid JPEG, as YouTube sends it, is not a thumbnail."""
    statuses = (201, 203, 206, 300, 305, 400, 401, 403, 404, 410, 429, 500, 503)
    ends = await outcomes({str(status): raw(response(status, JPEG)) for status in statuses})
    assert ends == {
        str(status): f"http_{status}: 127.0.0.1 answered {status}, expected 200" for status in statuses
    }


async def test_a_body_that_is_not_what_it_claims_is_refused() -> None:
    """Two types at once, a coding that is not read, a damaged one, one that unfolds beyond the limit."""
    compressed = gzip.compress(bytes(200_000))
    answers = {
        "two types": raw(ok(JPEG, b"Content-Type: image/png, text/html")),
        "two types without a comma": raw(ok(JPEG, b"Content-Type: image/png text/html")),
        "two types after a parameter": raw(ok(JPEG, b"Content-Type: image/png; q=1, text/html")),
        "two headers": raw(ok(JPEG, b"Content-Type: image/png", b"Content-Type: text/html")),
        "br": raw(ok(b"\x0b\x02\x80hi\x03", b"Content-Encoding: br")),
        "gzip cut off": raw(ok(compressed[:-9], b"Content-Encoding: gzip")),
        "gzip damaged": raw(ok(compressed[:20] + b"\xff" * 50, b"Content-Encoding: gzip")),
        "gzip bomb": raw(ok(compressed, b"Content-Encoding: gzip")),
    }
    ends = {name: end.partition(":")[0] for name, end in (await outcomes(answers, max_bytes=199_999)).items()}
    ends["gzip cut off"] = (await outcomes({"cut": answers["gzip cut off"]}))["cut"].partition(":")[0]
    assert ends == {
        **dict.fromkeys(list(answers)[:4], "not_an_image"),
        "br": "unsupported_format",
        "gzip cut off": "truncated",
        "gzip damaged": "not_an_image",
        "gzip bomb": "too_large",
    }


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


async def test_a_broken_answer_is_unreachable() -> None:
    """Anything but one complete HTTP response is the server's fault, and names only the server."""
    ends = await outcomes({kind: raw_then_close(answer) for kind, answer in BROKEN.items()})
    allowed = ("unreachable: 127.0.0.1 ", "truncated: 127.0.0.1 ", "empty: 127.0.0.1 ", "http_")
    assert {kind: end for kind, end in ends.items() if not end.startswith(allowed)} == {}
    cut = ("length beyond the body", "last chunk missing")
    assert [kind for kind in cut if not ends[kind].startswith("truncated")] == []


async def test_a_refused_connection_is_unreachable() -> None:
    """A port on which nobody listens is unreachable."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(UnreachableError, match=r"connection to .* refused"):
            await fetcher.fetch(f"http://127.0.0.1:{port}/")


def failing_once(broken: Answer) -> Answer:
    """Fails the first request, and answers the others with a picture."""
    asked = count()

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        await (raw(ok(JPEG)) if next(asked) else broken)(path, writer)

    return answer


async def reset(_path: str, writer: asyncio.StreamWriter) -> None:
    """Half an answer, then a reset."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\nhello")
    await writer.drain()
    linger = struct.pack("ii", 1, 0)  # close with RST
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


PASSING_FAULTS: dict[str, Answer] = {
    "reset": reset,
    "hung up": raw_then_close(b""),
    "cut off": raw_then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello"),
    "429": raw(response(429, b"", b"Retry-After: 0")),
    **{str(status): raw(response(status)) for status in (502, 503, 504)},
}


async def test_what_may_pass_is_tried_once_more() -> None:
    """A reset, and the statuses of a busy host; a second failure is the end."""
    once = {name: failing_once(fault) for name, fault in PASSING_FAULTS.items()}
    assert await outcomes(once) == dict.fromkeys(once, "fetched")
    ends = await outcomes(PASSING_FAULTS)
    assert {name: end.partition(":")[0] for name, end in ends.items()} == {
        "reset": "unreachable", "hung up": "unreachable", "cut off": "truncated",
        "429": "http_429", "502": "http_502", "503": "http_503", "504": "http_504",
    }  # fmt: skip
    assert (await outcomes({"404": failing_once(raw(response(404)))}))["404"].startswith("http_404")


async def test_a_retry_later_than_the_deadline_is_none() -> None:
    """A host that asks for more time than is left is given up at once."""
    answer = failing_once(raw(response(429, b"", b"Retry-After: 999")))
    assert (await outcomes({"later": answer}))["later"].startswith("http_429")


async def test_connections_that_the_host_has_closed_cost_no_picture() -> None:
    """Each idle connection that proves to be closed is replaced, however many there are."""
    seen: set[int] = set()

    async def once(path: str, writer: asyncio.StreamWriter) -> None:
        if id(writer) in seen:
            await reset(path, writer)
        else:
            seen.add(id(writer))
            writer.write(ok(JPEG))

    async with serving(once) as site, ThumbnailFetcher(trusting()) as fetcher:
        for _ in range(3):
            urls = [site.url(f"/{number}") for number in range(8)]
            assert await asyncio.gather(*map(fetcher.fetch, urls)) == [JPEG] * 8


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

    limits = trusting(timeout_s=PATIENCE_S, max_bytes=32 * LARGE_BYTES, max_connections_per_host=20)
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


async def test_one_deadline_covers_everything() -> None:
    """However slowly a server answers, the deadline of the whole ends it, and the connection goes."""
    for answer in (drip, drip_head, early_hints, half, raw()):
        async with serving(answer) as site, ThumbnailFetcher(trusting(timeout_s=0.3)) as fetcher:
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(UnreachableError, match=r"complete response within 0\.3 s") as late:
                    await fetcher.fetch(site.url())
                await site.hung_up.wait()
        assert late.value.reason == "timeout"


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


async def most_at_once(urls: Callable[[Site], list[str]], parties: Sequence[object], **policy: Any) -> int:
    """The largest number of requests that a site has at once when its URLs are fetched for these parties."""
    now, most = 0, 0

    async def answer(_: str, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(50):  # turns of the event loop in which others may come
            await asyncio.sleep(0)
        now -= 1
        writer.write(ok(JPEG))

    async with serving(answer) as site:
        names = Names(["127.0.0.1"])
        async with ThumbnailFetcher(trusting(**policy), resolve=names) as fetcher:
            asked = zip(urls(site), cycle(parties), strict=False)
            await asyncio.gather(*(fetcher.download(url, party) for url, party in asked))
    return most


async def test_one_host_gets_a_part_of_the_connections() -> None:
    """For one request three quarters of a host's share, for several all of it; under many names too."""

    def paths(site: Site) -> list[str]:
        return [site.url(f"/{index}.jpg") for index in range(40)]

    def names(site: Site) -> list[str]:
        return [f"http://{index}.example:{site.port}/" for index in range(40)]

    assert await most_at_once(paths, ["one"], max_connections_per_host=4) == 3
    assert await most_at_once(paths, ["one", "two"], max_connections_per_host=4) == 4
    assert await most_at_once(names, ["one", "two"], max_connections_per_host=4) == 4


async def test_a_missing_large_picture_of_youtube_is_replaced_by_a_smaller_one() -> None:
    """On 404 only, and the answer says which was read; without any the first 404 counts."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        found = path.endswith("/hqdefault.jpg") and "aaaaaaaaaaa" in path
        writer.write(ok(JPEG, b'ETag: "hq"') if found else response(404, JPEG))

    async with serving(answer) as site:
        network = Detour(site)
        async with ThumbnailFetcher(resolve=Names([PUBLIC]), network=network) as fetcher:
            found = await fetcher.download("http://i.ytimg.com/vi/aaaaaaaaaaa/maxresdefault.jpg")
            assert (found.body, found.validators) == (JPEG, None)
            note = "YouTube has no maxresdefault.jpg of this video (HTTP 404); hqdefault.jpg was read."
            assert found.notes == (note,)
            with pytest.raises(UnreachableError, match=r"i\.ytimg\.com answered 404"):
                await fetcher.download("http://i.ytimg.com/vi/bbbbbbbbbbb/sddefault.jpg")
    assert [path.rpartition("/")[2] for path in site.paths] == [
        "maxresdefault.jpg", "sddefault.jpg", "hqdefault.jpg", "sddefault.jpg", "hqdefault.jpg",
    ]  # fmt: skip


async def test_headers_are_the_policys() -> None:
    """A User-Agent for all hosts, and other headers for the hosts of a pattern."""
    policy = trusting(user_agent="Mozilla/5.0 (x)", headers={"127.0.0.1": {"Referer": "https://a.example/"}})
    async with serving(raw(ok(JPEG))) as site, ThumbnailFetcher(policy) as fetcher:
        await fetcher.fetch(site.url())
    lines = site.heads[0].split("\r\n")
    assert {"User-Agent: Mozilla/5.0 (x)", "Referer: https://a.example/"} < set(lines)


async def test_a_proxy_is_asked_for_the_hosts_of_the_allow_list() -> None:
    """It resolves the names; other hosts are refused before."""
    async with serving(raw(ok(JPEG))) as site:
        policy = ThumbnailPolicy(proxy=site.url(""), allowed_hosts=("pictures.example",))
        async with ThumbnailFetcher(policy) as fetcher:
            assert await fetcher.fetch("http://pictures.example/a.jpg") == JPEG
            with pytest.raises(ForbiddenUrlError):
                await fetcher.fetch("http://other.example/a.jpg")
    assert site.paths == ["http://pictures.example:80/a.jpg"]
    with pytest.raises(ValueError, match="allow-list"):
        ThumbnailPolicy(proxy="http://127.0.0.1:3128")
