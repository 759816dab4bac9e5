"""Servers that break HTTP or send what is no picture: sections I and J."""

import asyncio
import struct
import zlib
from contextlib import AsyncExitStack
from typing import Any

import pytest

from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from tests.hostile.conftest import Record
from tests.hostile.judging import GIF, JPEG, PNG, PUBLIC, account, judged, site, wrong
from tests.hostile.namespace import in_namespace
from tests.hostile.sites import canaries, listening, whole
from tests.support.pictures import encoded, picture

pytestmark = pytest.mark.hostile
CAP = 8 * 1024 * 1024
DEADLINE_S, TOLERANCE_S = 6.0, 0.3


def ok(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *headers, b"", body))


CHUNKED = b"Transfer-Encoding: chunked"
ENCODED = [
    b"br",
    b"zstd",
    b"deflate",
    b"gzip",
    b"x-gzip",
    b"gzip, gzip",
    b"x-foo",
    b"identity, gzip",
    b"GZIP",
]
STATUSES = [
    *(201, 202, 203, 206, 226, 300, 305, 306, 400, 401, 403, 404, 407, 410, 418, 429, 451),
    *(500, 502, 503, 504, 599),
]
LENGTHS = [b"-5", b"+5", b"5, 6", b"0x5", b"5 5", b"five", b"1e3", b"5.0", b"\xb2", b"5;a", b"10" + b"0" * 30]
# I. What a server sends before it hangs up, and the reason that a client is told.
BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "unreachable"),
    "HTTP/0.9": (JPEG, "unreachable"),
    "ICY": (b"ICY 200 OK\r\n\r\n" + JPEG, "unreachable"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", "unreachable"),
    "head of 200 kB": (ok(JPEG, b"X: " + b"a" * 200_000), "unreachable"),
    "head of 50,000 lines": (ok(JPEG, *[b"X: a"] * 50_000), "unreachable"),
    "no colon": (ok(JPEG, b"Content-Length"), "unreachable"),
    "space before the colon": (ok(JPEG, b"Content-Length : 5"), "unreachable"),
    "NUL in the head": (ok(JPEG, b"X: a\0b"), "unreachable"),
    "status of 4 digits": (b"HTTP/1.1 2000 OK\r\n\r\n" + JPEG, "unreachable"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "unreachable"),
    "SSH": (b"SSH-2.0-OpenSSH_9.7\r\n", "unreachable"),
    "SMTP": (b"220 mail.example ESMTP\r\n", "unreachable"),
    "Redis": (b"-ERR unknown command\r\n", "unreachable"),
    **{f"length {text!r}": (ok(b"hello", b"Content-Length: " + text), "unreachable") for text in LENGTHS},
    "length of 31 digits": (ok(b"hello", b"Content-Length: 1" + b"0" * 30), "unreachable"),
    "length 10**15": (ok(b"hello", b"Content-Length: 1000000000000000"), "too_large"),
    "two lengths": (ok(b"hello!", b"Content-Length: 5", b"Content-Length: 6"), "unreachable"),
    "length beyond the body": (ok(JPEG, b"Content-Length: %d" % (len(JPEG) + 1)), "unreachable"),
    "length short of the body": (ok(JPEG, b"Content-Length: 9"), "not_an_image"),
    "length and chunks": (ok(b"0\r\n\r\n", CHUNKED, b"Content-Length: 5"), "unreachable"),
    "chunk size no number": (ok(b"xyz\r\nhello\r\n0\r\n\r\n", CHUNKED), "unreachable"),
    "chunk size negative": (ok(b"-5\r\nhello\r\n0\r\n\r\n", CHUNKED), "unreachable"),
    "chunk size of 40 digits": (ok(b"f" * 40 + b"\r\nhello", CHUNKED), "unreachable"),
    "last chunk missing": (ok(b"%x\r\n%b\r\n" % (len(JPEG), JPEG), CHUNKED), "unreachable"),
    "chunk extension of 1 MB": (ok(b"5;" + b"a" * 1_000_000 + b"\r\nhello\r\n", CHUNKED), "unreachable"),
    "trailer of 1 MB": (ok(b"0\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n", CHUNKED), "unreachable"),
    "chunked twice": (ok(b"0\r\n\r\n", CHUNKED, CHUNKED), "unreachable"),
    "transfer gzip": (ok(b"hello", b"Transfer-Encoding: gzip, chunked"), "unreachable"),
    **{
        f"coded {text!r}": (whole(200, JPEG, b"Content-Encoding: " + text), "used")
        for text in ENCODED
    },
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "unreachable"),
    "100 alone": (b"HTTP/1.1 100 Continue\r\n\r\n", "unreachable"),
    "no body": (whole(200), "unreachable"),
    **{f"{status} with a JPEG": (whole(status, JPEG), "unreachable") for status in STATUSES},
    "204": (whole(204), "unreachable"),
    "205": (whole(205), "unreachable"),
    "304": (whole(304), "unreachable"),
    "exactly the cap": (whole(200, PNG + bytes(CAP - len(PNG))), "used"),
    "one over the cap": (whole(200, PNG + bytes(CAP - len(PNG) + 1)), "too_large"),
    "9 MiB without a length": (ok(PNG + bytes(9 * 1024 * 1024)), "too_large"),
}  # fmt: skip

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://169.254.169.254/"/></svg>'
PSD = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 9, 9, 8, 3) + bytes(16)
ENTITIES = b'<!DOCTYPE a [<!ENTITY b "' + b"b" * 10_000 + b'"><!ENTITY c "&b;&b;&b;&b;">]><svg>&c;&c;</svg>'
# J. What a server claims to send, what it sends, and what becomes of it.
TYPES: dict[str, tuple[bytes | None, bytes, str]] = {
    "image/jpeg": (b"image/jpeg", JPEG, "used"),
    "no type": (None, JPEG, "used"),
    "empty type": (b"", JPEG, "used"),
    "mislabelled": (b"application/octet-stream", PNG, "used"),
    "other picture": (b"image/jpeg", GIF, "used"),
    "two types, comma": (b"image/png, text/html", PNG, "not_an_image"),
    "two types, space": (b"image/png text/html", PNG, "not_an_image"),
    "SVG that fetches": (b"image/svg+xml", SVG, "not_an_image"),
    "SVG that unfolds": (b"image/svg+xml", ENTITIES, "not_an_image"),
    "SVG called JPEG": (b"image/jpeg", SVG, "not_an_image"),
    "PDF": (b"application/pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not_an_image"),
    "HTML": (b"image/jpeg", b"<!doctype html><title>a</title>", "not_an_image"),
    "EPS by hand": (b"image/jpeg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
    **{
        kind: (b"image/jpeg", encoded(picture(), kind), "not_an_image")
        for kind in ("BMP", "TIFF", "ICO", "PPM", "TGA", "DDS", "SGI", "PCX", "JPEG2000", "EPS")
    },
    "PSD": (b"image/jpeg", PSD, "not_an_image"),
    "FITS": (b"image/jpeg", b"SIMPLE  =                    T".ljust(2880), "not_an_image"),
    "AVIF": (b"image/jpeg", encoded(picture(), "AVIF"), "used"),
    "script before a picture": (b"image/gif", b"#!/bin/sh\n" + GIF, "not_an_image"),
    "HTML before a picture": (b"image/jpeg", b"<html><!--" + JPEG, "not_an_image"),
    "GIFAR": (b"image/gif", GIF + b"PK\3\4" + bytes(30), "used"),  # a sound picture; what follows is not read
    "zlib": (b"image/png", zlib.compress(bytes(1_000_000)), "not_an_image"),
}  # fmt: skip


async def break_http() -> dict[str, Any]:
    cases = {name: answer for name, (answer, _) in BROKEN.items()}
    for name, (kind, body, _) in TYPES.items():
        cases[f"type: {name}"] = whole(200, body, *([] if kind is None else [b"Content-Type: " + kind]))
    ends: dict[str, list[Any]] = {}
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(listening(PUBLIC, 80, site(list(cases.values()))))
        inward = await stack.enter_async_context(canaries())
        fetcher = await stack.enter_async_context(ThumbnailFetcher())
        for number, name in enumerate(cases):
            began = loop.time()
            reason = await judged(fetcher, f"http://{PUBLIC}/{number}")
            in_time = loop.time() - began < DEADLINE_S + TOLERANCE_S
            ends[name] = [reason, in_time, await judged(fetcher, f"http://{PUBLIC}/ok")]
        return {"ends": ends, "inward": sum(canary.connections for canary in inward)}


def test_broken_http_and_content_types(promise: Record) -> None:
    seen = in_namespace(break_http)
    wanted = {name: [end, True, "used"] for name, (_, end) in BROKEN.items()}
    wanted |= {f"type: {name}": [end, True, "used"] for name, (*_, end) in TYPES.items()}
    assert seen["ends"].keys() == wanted.keys()
    for row, chosen in (("broken HTTP", False), ("content types", True)):
        ends = {name: end for name, end in seen["ends"].items() if name.startswith("type: ") == chosen}
        missed = wrong(ends, wanted)
        promise(row, figure=account(ends, missed), kept=not missed and not seen["inward"])
