"""ThumbnailCache in front of a real server, whose requests are counted and read."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.image import MANY_PLACES, BadUrlError, ImageError, digest_of
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import UnreachableError
from preprocessing.thumbnails.response import Validators
from serving.scoring.encoders import PictureBudget
from serving.scoring.thumbnails import Content, ThumbnailCache
from tests.support.process import LIMIT_S
from tests.support.site import Site, raw, response, serving, trusting

pytestmark = pytest.mark.anyio
TTL_S = 300.0
CONDITIONS = ("If-None-Match", "If-Modified-Since")
DATE = b"Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT"
# Reading the machine's certificates takes longer than everything else here; all is plain HTTP.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gallery:
    """Shows one picture, in its current version, on every path, and honours conditions as RFC 9110 says.

    /moved leads to /a.jpg. `closed` answers 404.
    """

    def __init__(self) -> None:
        self.site: Site
        self.version = 1
        self.dates = False
        self.etags = True
        self.closed = False
        self.open = asyncio.Event()
        self.open.set()

    @property
    def body(self) -> bytes:
        """The current picture."""
        return b"picture %d" % self.version

    @property
    def validators(self) -> Validators:
        """What the server says of the current version."""
        etag, date = b'"v%d"' % self.version, b"Wed, 21 Oct 2015 07:28:%02d GMT" % (self.version % 60)
        return Validators(etag if self.etags else None, date if self.dates else None)

    def confirms(self, sent: Validators) -> bool:
        """Whether a conditional request is answered with a 304."""
        if sent.etag is not None:
            return sent.etag == self.validators.etag
        return sent.last_modified is not None and sent.last_modified == self.validators.last_modified

    @property
    def conditions(self) -> list[dict[str, str]]:
        """The conditions of each request, in order."""
        return [conditions_of(head) for head in self.site.heads]

    async def __call__(self, path: str, writer: asyncio.StreamWriter) -> None:
        sent = conditions_of(self.site.heads[-1])
        await self.open.wait()
        etag, date = (sent[name].encode() if name in sent else None for name in CONDITIONS)
        headers = [b"%s: %s" % line for line in _lines(self.validators)]
        if self.closed:
            writer.write(response(404, b"gone"))
        elif path == "/moved":
            writer.write(response(302, b"", b"Location: /a.jpg", *headers))
        elif self.confirms(Validators(etag, date)):
            writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        else:
            writer.write(response(200, self.body, *headers))


def _lines(validators: Validators) -> list[tuple[bytes, bytes]]:
    named = ((b"ETag", validators.etag), (b"Last-Modified", validators.last_modified))
    return [(name, value) for name, value in named if value is not None]


def conditions_of(head: str) -> dict[str, str]:
    """The conditional headers of a request."""
    pairs = [line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line]
    return {name: value for name, value in pairs if name in CONDITIONS}


@asynccontextmanager
async def opened(
    clock: Clock, max_entries: int = 100, ttl_s: float = TTL_S
) -> AsyncGenerator[tuple[Gallery, ThumbnailCache]]:
    """A gallery and a cache in front of it."""
    gallery = Gallery()
    async with serving(gallery) as gallery.site, ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher:
        yield gallery, ThumbnailCache(fetcher, ttl_s, max_entries, clock)


async def test_within_the_ttl_nothing_is_asked() -> None:
    """A picture seen less than `ttl_s` ago is known by its digest, without a request and without bytes."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        first = await cache.identify(gallery.site.url())
        clock.now += TTL_S - 0.1
        gallery.version += 1
        second = await cache.identify(gallery.site.url())
    assert first.body == b"picture 1"
    assert second == Content(first.digest, None)
    assert len(gallery.site.heads) == 1
    assert (cache.fresh, cache.unchanged, cache.downloads, cache.entries) == (1, 0, 1, 1)


@pytest.mark.parametrize(("etags", "dates"), [(True, False), (False, True), (True, True)])
async def test_after_the_ttl_an_unchanged_picture_is_not_sent_again(etags: bool, dates: bool) -> None:
    """The validators go back as they came; a 304 keeps the digest for another `ttl_s`, on one connection."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        gallery.etags, gallery.dates = etags, dates
        first = await cache.identify(gallery.site.url())
        clock.now += TTL_S
        second = await cache.identify(gallery.site.url())
        clock.now += TTL_S - 0.1
        third = await cache.identify(gallery.site.url())
        clock.now += TTL_S
        fourth = await cache.identify(gallery.site.url())
    assert second == third == fourth == Content(first.digest, None)
    sent = {"If-None-Match": '"v1"'} if etags else {}
    sent |= {"If-Modified-Since": "Wed, 21 Oct 2015 07:28:01 GMT"} if dates else {}
    assert gallery.conditions == [{}, sent, sent]
    assert gallery.site.connections == 1
    assert (cache.fresh, cache.unchanged, cache.downloads) == (1, 2, 1)


async def test_after_the_ttl_a_changed_picture_replaces_the_old_one() -> None:
    """A 200 to a conditional request brings the new bytes, and their digest and validators are kept."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        first = await cache.identify(gallery.site.url())
        clock.now += TTL_S
        gallery.version = 2
        second = await cache.identify(gallery.site.url())
        assert await cache.identify(gallery.site.url()) == Content(second.digest, None)
        clock.now += TTL_S
        await cache.identify(gallery.site.url())
    assert second.body == b"picture 2"
    assert second.digest != first.digest
    assert gallery.conditions == [{}, {"If-None-Match": '"v1"'}, {"If-None-Match": '"v2"'}]


async def test_ttl_runs_from_the_request() -> None:
    """A slow answer does not lengthen the TTL: a change while it was on its way is seen in time."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        for number in range(1, 4):
            gallery.open.clear()
            gallery.site.asked.clear()
            call = asyncio.create_task(cache.identify(gallery.site.url()))
            async with asyncio.timeout(LIMIT_S):
                await gallery.site.asked.wait()
            clock.now += 10
            gallery.open.set()
            await call
            clock.now += TTL_S - 10
            assert len(gallery.site.heads) == number
    assert cache.fresh == 0


async def test_without_validators_the_picture_is_downloaded_anew() -> None:
    """A server that names no version is asked without a condition after the TTL."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        gallery.etags = False
        first = await cache.identify(gallery.site.url())
        clock.now += TTL_S
        assert await cache.identify(gallery.site.url()) == first
    assert gallery.conditions == [{}, {}]


async def test_given_up_vector_costs_a_download() -> None:
    """`download` asks for the bytes however fresh the digest is, and what it finds is remembered."""
    async with opened(Clock()) as (gallery, cache):
        await cache.identify(gallery.site.url())
        gallery.version = 2
        picture = await cache.download(gallery.site.url())
        assert picture.body == b"picture 2"
        assert await cache.identify(gallery.site.url()) == Content(picture.digest, None)
    assert gallery.conditions == [{}, {}]


async def test_same_picture_elsewhere_has_the_same_digest() -> None:
    """The digest is the content's, which a picture in the request has too; other content differs."""
    async with opened(Clock()) as (gallery, cache):
        one = await cache.identify(gallery.site.url("/1.jpg"))
        two = await cache.identify(gallery.site.url("/2.jpg"))
        gallery.version = 2
        other = await cache.identify(gallery.site.url("/3.jpg"))
    assert one == two
    assert one.digest == digest_of(b"picture 1") != other.digest
    assert (gallery.site.paths, cache.entries) == (["/1.jpg", "/2.jpg", "/3.jpg"], 3)


async def test_the_same_picture_under_many_paths_is_repeated() -> None:
    """A placeholder has as many URLs as there are videos; one picture's signed URLs differ in the query."""
    async with opened(Clock()) as (gallery, cache):
        signed = [await cache.identify(gallery.site.url(f"/1.jpg?signature={index}")) for index in range(20)]
        found = [await cache.identify(gallery.site.url(f"/{index}.jpg")) for index in range(MANY_PLACES)]
        again = await cache.identify(gallery.site.url("/1.jpg"))
        gallery.version = 2
        changed = await cache.identify(gallery.site.url("/changed.jpg"))
    assert not any(content.is_repeated for content in (*signed, *found[:-1], changed))
    assert (found[-1].is_repeated, again.is_repeated) == (True, True)


async def test_redirect_gives_no_validators() -> None:
    """A redirected picture is remembered for the TTL and then downloaded anew, without a condition."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        await cache.identify(gallery.site.url("/moved"))
        assert (await cache.identify(gallery.site.url("/moved"))).body is None
        clock.now += TTL_S
        await cache.identify(gallery.site.url("/moved"))
    assert gallery.site.paths == ["/moved", "/a.jpg"] * 2
    assert gallery.conditions == [{}] * 4


async def test_validators_are_shown_to_their_own_url_alone() -> None:
    """A URL that redirects by now is asked with its validators, the place it leads to without."""
    gallery = Gallery()
    async with serving(gallery) as gallery.site, ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher:
        download = await fetcher.download_if_changed(gallery.site.url("/moved"), Validators(b'"v1"'))
    assert download is not None
    assert (download.body, download.validators) == (b"picture 1", None)
    assert gallery.conditions == [{"If-None-Match": '"v1"'}, {}]


async def test_304_that_nobody_asked_for_is_no_answer() -> None:
    """A 304 to an unconditional request is `UnreachableError`, like any status but 200."""
    async with (
        serving(raw(b"HTTP/1.1 304 Not Modified\r\n\r\n")) as site,
        ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher,
    ):
        with pytest.raises(UnreachableError, match="304"):
            await ThumbnailCache(fetcher).identify(site.url())


async def test_304_after_a_redirect_is_no_answer() -> None:
    """A redirect's target has seen no validators, so its 304 confirms nothing."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        moved = response(302, b"", b"Location: /b.jpg")
        writer.write(moved if path == "/a.jpg" else b"HTTP/1.1 304 Not Modified\r\n\r\n")

    async with serving(answer) as site, ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher:
        with pytest.raises(UnreachableError, match="304"):
            await fetcher.download_if_changed(site.url(), Validators(b'"v1"'))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([b'ETag: "abc"'], Validators(b'"abc"')),
        ([b'etag: W/"a/b+c=="'], Validators(b'W/"a/b+c=="')),
        ([b'ETag: ""', DATE], Validators(b'""', DATE[15:])),
        ([b'ETag: "' + b"x" * 256 + b'"'], Validators(b'"' + b"x" * 256 + b'"')),
        ([b'ETag: "' + b"x" * 257 + b'"'], None),
        ([b'ETag: "' + b"x" * 257 + b'"', DATE], Validators(None, DATE[15:])),
        ([b"ETag: abc"], None),
        ([b'ETag: "a b"'], None),
        ([b'ETag: "a"b"'], None),
        ([b'ETag: "\xc3\xa4"'], None),
        ([b'ETag: "a\tb"'], None),
        ([b"ETag: *"], None),
        ([b'ETag: "a"', b'ETag: "b"'], None),
        ([b"Last-Modified: yesterday"], None),
        ([b"Last-Modified: Wednesday, 21-Oct-15 07:28:00 GMT"], None),
        ([DATE + b", " + DATE[15:]], None),
        ([DATE, DATE], None),
        ([], None),
    ],
)
async def test_validators_are_kept_in_their_one_form(
    headers: list[bytes], expected: Validators | None
) -> None:
    """An ETag or date is kept where it is sent once, bounded and as RFC 9110 writes it; else ignored."""
    async with (
        serving(raw(response(200, b"x", *headers))) as site,
        ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher,
    ):
        assert (await fetcher.download(site.url())).validators == expected


async def test_error_is_not_remembered() -> None:
    """A URL that failed is asked again at once; one that fails after its TTL keeps what may be confirmed."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        gallery.closed = True
        with pytest.raises(UnreachableError):
            await cache.identify(gallery.site.url())
        assert cache.entries == 0
        gallery.closed = False
        assert (await cache.identify(gallery.site.url())).body == b"picture 1"
        clock.now += TTL_S
        gallery.closed = True
        with pytest.raises(UnreachableError):
            await cache.identify(gallery.site.url())
        gallery.closed = False
        assert (await cache.identify(gallery.site.url())).body is None
    assert [bool(each) for each in gallery.conditions] == [False, False, True, True]


async def test_refused_url_is_refused_here_too() -> None:
    """What the fetcher refuses as written is refused with its own error, half a character included."""
    async with opened(Clock()) as (gallery, cache):
        for url in ("", "no url", "http://a\ud800/x.jpg"):
            with pytest.raises(BadUrlError):
                await cache.identify(url)
    assert (gallery.site.heads, cache.entries) == ([], 0)


async def test_hundred_identical_urls_are_downloaded_once() -> None:
    """A hundred calls at once cost one request: a download, then a conditional one, then a download again."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        url = gallery.site.url()
        new = await asyncio.gather(*(cache.identify(url) for _ in range(100)))
        clock.now += TTL_S
        kept = await asyncio.gather(*(cache.identify(url) for _ in range(100)))
        lost = await asyncio.gather(*(cache.download(url) for _ in range(100)))
    assert {each.body for each in new} == {each.body for each in lost} == {b"picture 1"}
    assert {each.body for each in kept} == {None}
    assert {each.digest for each in new + kept} == {lost[0].digest}
    assert gallery.conditions == [{}, {"If-None-Match": '"v1"'}, {}]
    assert (cache.collapsed, cache.downloads, cache.unchanged) == (297, 2, 1)


async def test_others_get_the_picture_when_the_first_caller_leaves() -> None:
    """A client that hangs up takes the download from nobody; the last to leave ends it."""
    async with opened(Clock()) as (gallery, cache):
        gallery.open.clear()
        callers = [asyncio.create_task(cache.identify(gallery.site.url())) for _ in range(3)]
        await gallery.site.asked.wait()
        callers[0].cancel()
        await asyncio.wait(callers[:1])
        gallery.open.set()
        assert {each.body for each in await asyncio.gather(*callers[1:])} == {b"picture 1"}

        gallery.open.clear()
        gallery.site.asked.clear()
        alone = asyncio.create_task(cache.identify(gallery.site.url("/b.jpg")))
        await gallery.site.asked.wait()
        alone.cancel()
        await asyncio.wait([alone])
        gallery.open.set()
        async with asyncio.timeout(LIMIT_S):
            await gallery.site.hung_up.wait()
    assert cache.entries == 1


async def test_late_304_does_not_bring_an_old_picture_back() -> None:
    """A 304 that arrives after a later download has seen a change leaves what that download found."""
    clock, gate, asked = Clock(), asyncio.Event(), asyncio.Event()
    bodies = [b"old", b"new"]

    async def answer(_path: str, writer: asyncio.StreamWriter) -> None:
        if conditions_of(site.heads[-1]):
            asked.set()
            await gate.wait()
            writer.write(b"HTTP/1.1 304 Not Modified\r\n\r\n")
        else:
            writer.write(response(200, bodies.pop(0), b'ETag: "v"'))

    async with serving(answer) as site, ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher:
        cache = ThumbnailCache(fetcher, TTL_S, clock=clock)
        await cache.identify(site.url())
        clock.now += TTL_S
        late = asyncio.create_task(cache.identify(site.url()))
        await asked.wait()
        clock.now += 1
        new = await cache.download(site.url())
        gate.set()
        await late
        assert await cache.identify(site.url()) == Content(new.digest, None)
    assert new.body == b"new"


async def test_remembered_urls_are_bounded() -> None:
    """Of more than `max_entries` URLs the least recently asked is forgotten; 0 remembers none."""
    async with opened(Clock(), max_entries=3) as (gallery, cache):
        for path in ("/1", "/2", "/3", "/1"):
            await cache.identify(gallery.site.url(path))
        await cache.download(gallery.site.url("/2"))
        await cache.identify(gallery.site.url("/4"))
        assert cache.entries == 3
        known = [
            path
            for path in ("/1", "/2", "/4", "/3")
            if (await cache.identify(gallery.site.url(path))).body is None
        ]
    assert known == ["/1", "/2", "/4"]
    async with opened(Clock(), max_entries=0) as (gallery, cache):
        assert (await cache.identify(gallery.site.url())).body is not None
        assert (await cache.identify(gallery.site.url())).body is not None


async def test_a_picture_is_given_up_when_its_time_is_used_up() -> None:
    """Whatever is waited for, so that its video can still be scored; without a limit it is waited for."""
    with pytest.raises(ImageError, match="time for its picture was used up") as late:
        async with PictureBudget(asyncio.get_running_loop().time()).limit():
            await asyncio.Event().wait()
    assert late.value.reason == "timeout"
    async with PictureBudget().limit():
        await asyncio.sleep(0)


STEPS = st.one_of(
    st.sampled_from(["identify", "identify", "identify", "download", "paint", "close", "etags", "dates"]),
    st.sampled_from([1.0, TTL_S - 0.5, TTL_S]),
)


@settings(deadline=None, max_examples=150)
@given(steps=st.lists(STEPS, min_size=5, max_size=40))
def test_cache_behaves_like_its_definition(steps: list[str | float]) -> None:
    """For any order of calls, changes, closures and waits: the right answer, for the requests it needs."""
    asyncio.run(_play(steps))


async def _play(steps: list[str | float]) -> None:
    """Keeps what a URL should be known as: version, validators and time; None when it is not known."""
    clock = Clock()
    known: tuple[bytes, Validators, float] | None = None
    async with opened(clock) as (gallery, cache):
        for step in steps:
            before = len(gallery.site.heads)
            match step:
                case float():
                    clock.now += step
                case "paint":
                    gallery.version += 1
                case "close":
                    gallery.closed = not gallery.closed
                case "etags":
                    gallery.etags = not gallery.etags
                case "dates":
                    gallery.dates = not gallery.dates
                case _:
                    fresh = known is not None and clock.now - known[2] < TTL_S and step == "identify"
                    sent = known[1] if known and step == "identify" else Validators()
                    with _closed(gallery.closed and not fresh) as refused:
                        content = await getattr(cache, str(step))(gallery.site.url())
                    assert len(gallery.site.heads) - before == (0 if fresh else 1)
                    if not fresh:
                        assert [value.encode() for value in gallery.conditions[-1].values()] == [
                            value for _, value in _lines(sent)
                        ]
                    if refused:
                        continue
                    confirmed = fresh or gallery.confirms(sent)
                    assert content.body == (None if confirmed else gallery.body)
                    if not confirmed:
                        known = (content.digest, gallery.validators, clock.now)
                    assert known is not None
                    assert content.digest == known[0]
                    if not fresh:
                        known = (*known[:2], clock.now)


@contextmanager
def _closed(expected: bool) -> Iterator[bool]:
    """Expects a `ImageError` where one is due."""
    if not expected:
        yield False
        return
    with pytest.raises(ImageError):
        yield True
