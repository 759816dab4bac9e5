"""Fetching from a server that behaves, and from many that do not."""

import asyncio
import socket

import pytest

from preprocessing.image import BadUrlError, ImageTooLargeError
from preprocessing.pixels import decode_image
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
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
    ok,
    outcomes,
    raw,
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
    """A chain is not followed beyond the limit, and neither is a loop."""
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
    """A redirect to a forbidden place makes the thumbnail unreachable, and the place is not dialled."""
    network = CountingNetwork()
    async with ThumbnailFetcher(trusting(), network=network, resolve=Names(["10.0.0.1"])) as fetcher:
        for location in REFUSED_LOCATIONS:
            async with serving(redirecting(location)) as site:
                with pytest.raises(UnreachableError):
                    await fetcher.fetch(site.url("/0"))
            assert network.dials.pop() == ("127.0.0.1", site.port), location
            assert network.dials == [], location


async def test_a_redirect_names_one_place() -> None:
    """A redirect without a target, or with two, is unreachable; the same target may be named twice."""
    two, same = (b"Location: /a", b"Location: /b"), (b"Location: /a", b"Location: /a")
    answers = {str(each): raw(response(302, b"", *each)) for each in ((), two, (b"Refresh: 0; url=/a",))}
    assert all("places, expected 1" in end for end in (await outcomes(answers)).values())

    async def twice(path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(ok(JPEG) if path == "/a" else response(302, b"", *same))

    assert await outcomes({"the same": twice}) == {"the same": "fetched"}


async def test_a_refused_connection_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with ThumbnailFetcher(trusting()) as fetcher:
        with pytest.raises(UnreachableError, match=r"connection to .* refused"):
            await fetcher.fetch(f"http://127.0.0.1:{port}/")


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
    """Early hints again and again, never an answer."""
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def half(_path: str, writer: asyncio.StreamWriter) -> None:
    """Half a picture, then silence."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(JPEG) + JPEG[: len(JPEG) // 2])


async def test_one_deadline_covers_everything() -> None:
    """However slowly a server answers, the overall deadline ends the fetch and its connection."""
    for answer in (drip, drip_head, early_hints, half, raw()):
        async with serving(answer) as site, ThumbnailFetcher(trusting(timeout_s=0.3)) as fetcher:
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(UnreachableError, match=r"complete response within 0\.3 s") as late:
                    await fetcher.fetch(site.url())
                await site.hung_up.wait()
        assert late.value.reason == "timeout"


async def test_the_deadline_spans_redirects() -> None:
    """Each redirect is fast enough on its own; together they are too slow."""

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


async def test_a_cancelled_fetch_hangs_up() -> None:
    async with serving(half) as site, ThumbnailFetcher(trusting(timeout_s=PATIENCE_S)) as fetcher:
        task = asyncio.create_task(fetcher.fetch(site.url()))
        async with asyncio.timeout(PATIENCE_S):
            await site.asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await site.hung_up.wait()


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies in the environment are for other programs: the site itself is dialled."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    network = CountingNetwork()
    async with serving(raw(ok(JPEG))) as site, ThumbnailFetcher(trusting(), network=network) as fetcher:
        await fetcher.fetch(site.url())
    assert network.dials == [("127.0.0.1", site.port)]


async def test_a_missing_large_picture_of_youtube_is_replaced_by_a_smaller_one() -> None:
    """On 404 only, and the answer says which was read; if there is none, the first 404 counts."""

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
    """A User-Agent for all hosts, and other headers for hosts that match a pattern."""
    policy = trusting(user_agent="Mozilla/5.0 (x)", headers={"127.0.0.1": {"Referer": "https://a.example/"}})
    async with serving(raw(ok(JPEG))) as site, ThumbnailFetcher(policy) as fetcher:
        await fetcher.fetch(site.url())
    lines = site.heads[0].split("\r\n")
    assert {"User-Agent: Mozilla/5.0 (x)", "Referer: https://a.example/"} < set(lines)


async def test_a_proxy_is_asked_for_the_hosts_of_the_allow_list() -> None:
    """It resolves the names; other hosts are refused before it is asked."""
    async with serving(raw(ok(JPEG))) as site:
        policy = ThumbnailPolicy(proxy=site.url(""), allowed_hosts=("pictures.example",))
        async with ThumbnailFetcher(policy) as fetcher:
            assert await fetcher.fetch("http://pictures.example/a.jpg") == JPEG
            with pytest.raises(ForbiddenUrlError):
                await fetcher.fetch("http://other.example/a.jpg")
    assert site.paths == ["http://pictures.example:80/a.jpg"]
