"""Which requests are retried, and which connections are reused."""

import asyncio
import socket
import struct
import time
from email.utils import formatdate
from itertools import count

import pytest

from preprocessing.image import ImageTooLargeError
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from tests.support.pictures import encoded, picture
from tests.support.site import Answer, ok, outcomes, raw, raw_then_close, response, serving, trusting

pytestmark = pytest.mark.anyio
JPEG = encoded(picture(), "JPEG")


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


async def test_faults_that_may_pass_are_retried_once() -> None:
    """A reset, and the statuses of a busy host; a second failure is final."""
    once = {name: failing_once(fault) for name, fault in PASSING_FAULTS.items()}
    assert await outcomes(once) == dict.fromkeys(once, "fetched")
    ends = await outcomes(PASSING_FAULTS)
    assert {name: end.partition(":")[0] for name, end in ends.items()} == {
        "reset": "unreachable", "hung up": "unreachable", "cut off": "truncated",
        "429": "http_429", "502": "http_502", "503": "http_503", "504": "http_504",
    }  # fmt: skip
    assert (await outcomes({"404": failing_once(raw(response(404)))}))["404"].startswith("http_404")


def dated(seconds: float) -> bytes:
    """A Retry-After date, `seconds` from now."""
    return b"Retry-After: " + formatdate(time.time() + seconds, usegmt=True).encode()


async def test_a_host_says_when_to_ask_again() -> None:
    """In seconds or as a date, once or twice the same; a host is not asked again after the deadline."""
    soon = {"0": (b"Retry-After: 0",), "twice": (b"Retry-After: 0",) * 2, "a past date": (dated(-9),)}
    soon |= {"neither": (b"Retry-After: soon",), "a year beyond the calendar": (b"Retry-After: 99999-01-01",)}
    late = {
        "a day": (b"Retry-After: 86400",),
        "a date": (dated(999),),
        "long": (b"Retry-After: " + b"9" * 19,),
    }
    answers = {
        name: failing_once(raw(response(503, b"", *headers))) for name, headers in (soon | late).items()
    }
    ends = {name: end.partition(":")[0] for name, end in (await outcomes(answers)).items()}
    assert ends == dict.fromkeys(soon, "fetched") | dict.fromkeys(late, "http_503")


async def test_bytes_left_after_an_answer_cost_no_picture() -> None:
    """Bytes beyond a body's length are not taken as the answer to the next request."""
    async with serving(raw(ok(JPEG), b"trailing garbage")) as site, ThumbnailFetcher(trusting()) as fetcher:
        assert [await fetcher.fetch(site.url()) for _ in range(4)] == [JPEG] * 4


async def test_a_retry_after_the_deadline_is_not_made() -> None:
    """A host that asks for more time than is left fails at once."""
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


async def test_a_connection_serves_again_after_a_whole_body() -> None:
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
