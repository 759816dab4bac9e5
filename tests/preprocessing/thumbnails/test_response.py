"""How a host's response is read: its framing, status, encoding and size."""

import asyncio
import gzip
import io
import zlib

import brotli
import pytest

from preprocessing.image import ImageError, ImageTooLargeError
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import UnreachableError
from preprocessing.thumbnails.response import UNPACKERS, unpacked
from tests.support.pictures import encoded, picture
from tests.support.site import (
    PATIENCE_S,
    Answer,
    ok,
    outcomes,
    raw,
    raw_then_close,
    response,
    serving,
    trusting,
)

pytestmark = pytest.mark.anyio
JPEG = encoded(picture(), "JPEG")


def gzip_named(name: str) -> bytes:
    """The JPEG as gzip compresses a file of this name."""
    buffer = io.BytesIO()
    with gzip.GzipFile(name, "wb", fileobj=buffer) as file:
        file.write(JPEG)
    return buffer.getvalue()


FRAMINGS: dict[str, Answer] = {
    "until close": raw_then_close(b"HTTP/1.1 200 OK\r\n\r\n", JPEG),
    "HTTP/1.0": raw_then_close(b"HTTP/1.0 200 OK\r\n\r\n", JPEG),
    "chunked": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(JPEG), JPEG, b"\r\n0\r\n\r\n"
    ),
    "identity": raw(ok(JPEG, b"Content-Encoding: identity")),
    "aws-chunked": raw(ok(JPEG, b"Content-Encoding: aws-chunked")),
    "unknown coding": raw(ok(JPEG, b"Content-Encoding: x-foo")),
    "br, uncompressed": raw(ok(JPEG, b"Content-Encoding: br")),
    "gzip, uncompressed": raw(ok(JPEG, b"Content-Encoding: gzip")),
    "br": raw(ok(brotli.compress(JPEG), b"Content-Encoding: br")),
    "mislabelled": raw(ok(JPEG, b"Content-Type: text/html")),
    "the same type twice": raw(ok(JPEG, *[b"Content-Type: image/jpeg"] * 2)),
    "the same type twice in a line": raw(ok(JPEG, b"Content-Type: image/jpeg, image/jpeg")),
    "identity, br": raw(ok(brotli.compress(JPEG), b"Content-Encoding: identity, br")),
    "no reason phrase": raw(b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(JPEG), JPEG),
    "lines that end in a line feed only": raw(b"HTTP/1.1 200 OK\nContent-Length: %d\n\n" % len(JPEG), JPEG),
    "a folded header": raw(ok(JPEG, b"X-Note: a\r\n b")),
    "a header in UTF-8": raw(ok(JPEG, 'Content-Disposition: inline; filename="é.jpg"'.encode())),
    "a hundred cookies": raw(ok(JPEG, *[b"Set-Cookie: a%d=b" % number for number in range(100)])),
    "an upgrade on offer": raw(ok(JPEG, b"Upgrade: h2c", b"Connection: Upgrade")),
    "the length twice": raw(ok(JPEG, b"Content-Length: %d" % len(JPEG))),
    "a Location without a redirect": raw(ok(JPEG, b"Location: /b.jpg")),
    "commas around gzip": raw(ok(gzip.compress(JPEG), b"Content-Encoding: ,gzip,")),
    "gzip with a file's name": raw(ok(gzip_named("a.jpg"), b"Content-Encoding: gzip")),
    "null": raw(ok(JPEG, b"Content-Encoding: null")),
    "Chunked, extended, with a trailer": raw(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n%X;a=b\r\n" % len(JPEG),
        JPEG,
        b"\r\n0\r\nX-Sum: 1\r\n\r\n",
    ),
    "hints, then 100": raw(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", ok(JPEG)),
    "early hints": raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ok(JPEG)),
    **{
        f"type {claimed!r}": raw(ok(JPEG, b"Content-Type: " + claimed))
        for claimed in (b"", b"image/jpeg; charset=x y", b"jpeg", b"application/pdf ; a")
    },
}


async def test_each_framing_of_a_body_is_read() -> None:
    """The body of a 200 is read, whatever its framing and declared type or coding."""
    assert await outcomes(FRAMINGS) == dict.fromkeys(FRAMINGS, "fetched")


async def test_other_statuses_are_the_reason() -> None:
    """Only 200 counts: a 404 with a valid JPEG, as YouTube sends it, is not a thumbnail."""
    statuses = (201, 203, 206, 226, 300, 305, 400, 401, 403, 404, 410, 418, 429, 451, 500, 503, 520, 999)
    ends = await outcomes({str(status): raw(response(status, JPEG)) for status in statuses})
    assert ends == {
        str(status): f"http_{status}: 127.0.0.1 answered {status}, expected 200" for status in statuses
    }


async def test_a_body_that_is_not_what_it_claims_is_refused() -> None:
    """Two types at once, or an unsupported or damaged coding."""
    answers = {
        "two types": raw(ok(JPEG, b"Content-Type: image/png, text/html")),
        "two types without a comma": raw(ok(JPEG, b"Content-Type: image/png text/html")),
        "two types after a parameter": raw(ok(JPEG, b"Content-Type: image/png; q=1, text/html")),
        "two headers": raw(ok(JPEG, b"Content-Type: image/png", b"Content-Type: text/html")),
        "zstd": raw(ok(b"\x28\xb5\x2f\xfd", b"Content-Encoding: zstd")),
        "damaged": raw(ok(b"\x1f\x8b" + bytes(50), b"Content-Encoding: gzip")),
    }
    ends = {name: end.partition(":")[0] for name, end in (await outcomes(answers)).items()}
    assert ends == {
        **dict.fromkeys(list(answers)[:4], "not_an_image"),
        "zstd": "unsupported_format",
        "damaged": "not_an_image",
    }


def deflated(body: bytes, wbits: int) -> bytes:
    """Compressed by zlib; a negative `wbits` omits its header."""
    packing = zlib.compressobj(wbits=wbits)
    return packing.compress(body) + packing.flush()


def nested(depth: int) -> bytes:
    """The JPEG, compressed `depth` times by gzip."""
    body = JPEG
    for _ in range(depth):
        body = gzip.compress(body)
    return body


READ: dict[str, tuple[list[bytes], bytes]] = {
    "gzip": ([b"gzip"], gzip.compress(JPEG)),
    "gzip twice": ([b"gzip", b"gzip"], nested(2)),
    "gzip twice, named once": ([b"gzip"], nested(2)),
    "deflate": ([b"deflate"], deflated(JPEG, 15)),
    "deflate without zlib's header": ([b"deflate"], deflated(JPEG, -15)),
    "br": ([b"br"], brotli.compress(JPEG)),
    "br, then gzip": ([b"br", b"gzip"], gzip.compress(brotli.compress(JPEG))),
    "gzip, then br": ([b"gzip", b"br"], brotli.compress(gzip.compress(JPEG))),
    "gzip of two members": ([b"gzip"], gzip.compress(JPEG[:99]) + gzip.compress(JPEG[99:])),
    "gzip, then garbage": ([b"gzip"], gzip.compress(JPEG) + bytes(8)),
    "gzip of a text": ([b"gzip"], gzip.compress(JPEG[:2] + b"text")),
    **{f"{name.decode()}, uncompressed": ([name], JPEG) for name in (b"gzip", b"deflate", b"br", b"zstd")},
    "br that is an AVIF": ([b"br"], b"\0\0\0\x1cftypavif"),
}


def test_each_content_coding_is_taken_off() -> None:
    """In the reverse order of their names; a body that is not compressed is taken as it is."""
    wanted = dict.fromkeys(READ, JPEG) | {
        "gzip of a text": JPEG[:2] + b"text", "br that is an AVIF": READ["br that is an AVIF"][1],
    }  # fmt: skip
    assert {
        name: unpacked(body, codings, "host", 100_000) == wanted[name]
        for name, (codings, body) in READ.items()
    } == dict.fromkeys(READ, True)


ZEROS = bytes(20_000_000)
TOO_MUCH: dict[str, tuple[list[bytes], bytes, str]] = {
    "gzip bomb": ([b"gzip"], gzip.compress(ZEROS), "too_large"),
    "deflate bomb": ([b"deflate"], deflated(ZEROS, 15), "too_large"),
    "br bomb": ([b"br"], brotli.compress(ZEROS, quality=5), "too_large"),
    "a bomb in a bomb": ([b"gzip", b"gzip"], gzip.compress(gzip.compress(ZEROS)), "too_large"),
    "a bomb behind a member": ([b"gzip"], gzip.compress(JPEG) + gzip.compress(ZEROS), "too_large"),
    "gzip of a million members": ([b"gzip"], gzip.compress(b"") * 1_000_000, "truncated"),
    "the second member cut off": ([b"gzip"], gzip.compress(JPEG) + gzip.compress(JPEG)[:-9], "truncated"),
    "gzip without an end": ([b"gzip"], nested(4), "not_an_image"),
    "ten codings": ([b"br"] * 10, JPEG[:1], "not_an_image"),
    "gzip cut off": ([b"gzip"], gzip.compress(JPEG)[:-9], "truncated"),
    "br cut off": ([b"br"], brotli.compress(JPEG)[:-9], "truncated"),
    "deflate cut off": ([b"deflate"], deflated(JPEG, 15)[:-9], "truncated"),
    "gzip damaged": ([b"gzip"], gzip.compress(JPEG)[:20] + b"\xff" * 50, "not_an_image"),
    "br damaged": ([b"br"], b"\xff" * 50, "not_an_image"),
    "deflate damaged": ([b"deflate"], b"\xff" * 50, "not_an_image"),
}


def refused(name: str) -> str:
    """The reason why a row's body is refused, or `read`."""
    codings, body, _ = TOO_MUCH[name]
    try:
        left = unpacked(body, codings, "host", 100_000)
    except ImageError as exc:
        return exc.reason
    return "not_an_image" if left.startswith(b"\x1f\x8b") else "read"  # what is left goes to the decoder


def test_a_content_coding_is_unpacked_within_the_limit() -> None:
    """No more of a bomb than the limit is unpacked, and of nested codings no more than three."""
    assert {name: refused(name) for name in TOO_MUCH} == {name: row[2] for name, row in TOO_MUCH.items()}


def test_no_more_is_unpacked_than_asked_for() -> None:
    """Whatever a bomb would unpack to; Brotli stops at the end of a block."""
    bombs = {b"gzip": gzip.compress(b"a") + gzip.compress(ZEROS), b"deflate": deflated(ZEROS, 15)}
    bombs[b"br"] = brotli.compress(ZEROS, quality=5)
    longest = {name: len(UNPACKERS[name](bomb, 1000)[0]) for name, bomb in bombs.items()}
    assert {name: length for name, length in longest.items() if length > 100_000} == {}
    assert (longest[b"gzip"], longest[b"deflate"]) == (1000, 1000)


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


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
LENGTHS = (b"-5", b"+5", b"5, 6", b"0x5", b"5 5", b"five", b"1e3", b"5.0", b"\xb2", b"5;a", b"1" + b"0" * 30)
BROKEN = {
    "header of 50,000 lines": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 50_000 + b"\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SSH": b"SSH-2.0-OpenSSH_9.7\r\n",
    "SMTP": b"220 mail.example ESMTP\r\n",
    "Redis": b"-ERR unknown command\r\n",
    "chunk size of 40 digits": CHUNKED + b"\r\n" + b"f" * 40 + b"\r\nhello",
    "chunk extension of 1 MB": CHUNKED + b"\r\n5;" + b"a" * 1_000_000 + b"\r\nhello\r\n",
    "trailer of 1 MB": CHUNKED + b"\r\n0\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "chunked twice": CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nhello",
    "100 alone": b"HTTP/1.1 100 Continue\r\n\r\n",
    "205": b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    **{
        f"length {text!r}": b"HTTP/1.1 200 OK\r\nContent-Length: " + text + b"\r\n\r\nhello"
        for text in LENGTHS
    },
    "nothing": b"",
    "garbage": b"\x00\x01\x02 garbage\r\n\r\n",
    "HTTP/0.9": JPEG,
    "shoutcast": b"ICY 200 OK\r\n\r\n" + JPEG,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "header of 200 kB": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\nhello",
    "length of two minds": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "length beyond the body": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "chunk size invalid": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
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
    """Anything but one complete HTTP response is the server's fault, and the error names only the server."""
    ends = await outcomes({kind: raw_then_close(answer) for kind, answer in BROKEN.items()})
    allowed = ("unreachable: 127.0.0.1 ", "truncated: 127.0.0.1 ", "empty: 127.0.0.1 ", "http_")
    assert {kind: end for kind, end in ends.items() if not end.startswith(allowed)} == {}
    cut = ("length beyond the body", "last chunk missing")
    assert [kind for kind in cut if not ends[kind].startswith("truncated")] == []


@pytest.mark.parametrize("announced", [True, False])
async def test_the_cap_is_exact(announced: bool) -> None:
    answer = raw(ok(JPEG)) if announced else raw_then_close(b"HTTP/1.1 200 OK\r\n\r\n", JPEG)
    async with serving(answer) as site:
        async with ThumbnailFetcher(trusting(max_bytes=len(JPEG))) as fetcher:
            assert await fetcher.fetch(site.url()) == JPEG
        async with ThumbnailFetcher(trusting(max_bytes=len(JPEG) - 1)) as fetcher:
            with pytest.raises(ImageTooLargeError):
                await fetcher.fetch(site.url())


async def test_an_announced_flood_is_not_read() -> None:
    """A Content-Length beyond the cap is enough: the connection is closed before the body is sent."""
    answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
    async with serving(answer) as site, ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(ImageTooLargeError, match="announced 99999999 bytes"):
            await fetcher.fetch(site.url())
        async with asyncio.timeout(PATIENCE_S):
            await site.hung_up.wait()


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"], ids=["plain", "chunked"])
async def test_an_endless_flood_is_cut_off(head: bytes) -> None:
    """A body that never ends is cut at the cap: the server sees the connection close."""

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
