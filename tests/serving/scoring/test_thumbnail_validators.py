"""ETags and dates of thumbnails: which are kept, to which URLs they are sent, and what a 304 confirms."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.image import ImageError
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import UnreachableError
from preprocessing.thumbnails.response import Validators
from serving.scoring.thumbnails import Content, ThumbnailCache
from tests.serving.scoring.gallery import NO_TLS, TTL_S, Clock, Gallery, conditions_of, lines_of, opened
from tests.support.site import raw, response, serving, trusting

pytestmark = pytest.mark.anyio

DATE = b"Last-Modified: Wed, 21 Oct 2015 07:28:00 GMT"


async def test_redirect_gives_no_validators() -> None:
    """A redirected picture is remembered for the TTL and then downloaded again, without a condition."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        await cache.identify(gallery.site.url("/moved"))
        assert (await cache.identify(gallery.site.url("/moved"))).body is None
        clock.now += TTL_S
        await cache.identify(gallery.site.url("/moved"))
    assert gallery.site.paths == ["/moved", "/a.jpg"] * 2
    assert gallery.conditions == [{}] * 4


async def test_validators_are_sent_to_their_own_url_alone() -> None:
    """A URL that redirects by now is requested with its validators, the redirect's target without."""
    gallery = Gallery()
    async with serving(gallery) as gallery.site, ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher:
        download = await fetcher.download_if_changed(gallery.site.url("/moved"), Validators(b'"v1"'))
    assert download is not None
    assert (download.body, download.validators) == (b"picture 1", None)
    assert gallery.conditions == [{"If-None-Match": '"v1"'}, {}]


async def test_an_unasked_304_is_an_error() -> None:
    """A 304 to an unconditional request is `UnreachableError`, like any status but 200."""
    async with (
        serving(raw(b"HTTP/1.1 304 Not Modified\r\n\r\n")) as site,
        ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher,
    ):
        with pytest.raises(UnreachableError, match="304"):
            await ThumbnailCache(fetcher).identify(site.url())


async def test_304_after_a_redirect_is_an_error() -> None:
    """A redirect's target has seen no validators, so its 304 confirms nothing."""

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        moved = response(302, b"", b"Location: /b.jpg")
        writer.write(moved if path == "/a.jpg" else b"HTTP/1.1 304 Not Modified\r\n\r\n")

    async with serving(answer) as site, ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher:
        with pytest.raises(UnreachableError, match="304"):
            await fetcher.download_if_changed(site.url(), Validators(b'"v1"'))


async def test_late_304_does_not_bring_an_old_picture_back() -> None:
    """A late 304 does not replace the picture that a later download has found."""
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


# What a host sends, and what is kept of it.
KEPT: list[tuple[list[bytes], Validators | None]] = [
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
]


async def test_validators_are_kept_in_their_standard_form() -> None:
    """An ETag or date is kept if it is sent once, short enough and in RFC 9110's form; else ignored."""
    failures = []
    for headers, expected in KEPT:
        async with (
            serving(raw(response(200, b"x", *headers))) as site,
            ThumbnailFetcher(trusting(), ssl_context=NO_TLS) as fetcher,
        ):
            found = (await fetcher.download(site.url())).validators
        failures += [] if found == expected else [(headers, found)]
    assert failures == []


STEPS = st.one_of(
    st.sampled_from(["identify", "identify", "identify", "download", "paint", "close", "etags", "dates"]),
    st.sampled_from([1.0, TTL_S - 0.5, TTL_S]),
)


@settings(deadline=None, max_examples=150)
@given(steps=st.lists(STEPS, min_size=5, max_size=40))
def test_cache_behaves_like_its_definition(steps: list[str | float]) -> None:
    """For any order of calls, changes, closures and waits: the right answer without an extra request."""
    asyncio.run(_play(steps))


async def _play(steps: list[str | float]) -> None:
    """`known` is what the cache should know of the URL: digest, validators and time; None if nothing."""
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
                            value for _, value in lines_of(sent)
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
    """Expects an `ImageError` if `expected`."""
    if not expected:
        yield False
        return
    with pytest.raises(ImageError):
        yield True
