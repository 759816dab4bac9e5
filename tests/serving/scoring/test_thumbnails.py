"""ThumbnailCache in front of a real server, whose requests are counted and read."""

import asyncio

import pytest

from preprocessing.image import MANY_PLACES, BadUrlError, ImageError, digest_of
from preprocessing.thumbnails.policy import UnreachableError
from serving.scoring.encoders import PictureBudget
from serving.scoring.thumbnails import Content
from tests.serving.scoring.gallery import TTL_S, Clock, opened
from tests.support.process import LIMIT_S

pytestmark = pytest.mark.anyio


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
    """The validators go back unchanged; a 304 keeps the digest for another `ttl_s`, on one connection."""
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


async def test_without_validators_the_picture_is_downloaded_again() -> None:
    """A server that sends no validators is asked without a condition after the TTL."""
    clock = Clock()
    async with opened(clock) as (gallery, cache):
        gallery.etags = False
        first = await cache.identify(gallery.site.url())
        clock.now += TTL_S
        assert await cache.identify(gallery.site.url()) == first
    assert gallery.conditions == [{}, {}]


async def test_evicted_vector_costs_a_download() -> None:
    async with opened(Clock()) as (gallery, cache):
        await cache.identify(gallery.site.url())
        gallery.version = 2
        picture = await cache.download(gallery.site.url())
        assert picture.body == b"picture 2"
        assert await cache.identify(gallery.site.url()) == Content(picture.digest, None)
    assert gallery.conditions == [{}, {}]


async def test_same_picture_elsewhere_has_the_same_digest() -> None:
    """The digest is of the content, as for a picture in the request; other content has another one."""
    async with opened(Clock()) as (gallery, cache):
        one = await cache.identify(gallery.site.url("/1.jpg"))
        two = await cache.identify(gallery.site.url("/2.jpg"))
        gallery.version = 2
        other = await cache.identify(gallery.site.url("/3.jpg"))
    assert one == two
    assert one.digest == digest_of(b"picture 1") != other.digest
    assert (gallery.site.paths, cache.entries) == (["/1.jpg", "/2.jpg", "/3.jpg"], 3)


async def test_the_same_picture_under_many_paths_is_repeated() -> None:
    """A placeholder has a URL for each video; one picture's signed URLs differ only in the query."""
    async with opened(Clock()) as (gallery, cache):
        signed = [await cache.identify(gallery.site.url(f"/1.jpg?signature={index}")) for index in range(20)]
        found = [await cache.identify(gallery.site.url(f"/{index}.jpg")) for index in range(MANY_PLACES)]
        again = await cache.identify(gallery.site.url("/1.jpg"))
        gallery.version = 2
        changed = await cache.identify(gallery.site.url("/changed.jpg"))
    assert not any(content.is_repeated for content in (*signed, *found[:-1], changed))
    assert (found[-1].is_repeated, again.is_repeated) == (True, True)


async def test_error_is_not_remembered() -> None:
    """A URL that failed is asked again at once; one that fails after its TTL keeps its validators."""
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
    """A URL that the fetcher refuses is refused with the fetcher's error, also with half a character."""
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
    """A client that hangs up does not end the download for the others; the last one to leave does."""
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


async def test_remembered_urls_are_bounded() -> None:
    """Beyond `max_entries` URLs the least recently used one is forgotten; 0 remembers none."""
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
    """Whatever is waited for, so that its video can still be scored; without a limit nothing is given up."""
    with pytest.raises(ImageError, match="time for its picture was used up") as late:
        async with PictureBudget(asyncio.get_running_loop().time()).limit():
            await asyncio.Event().wait()
    assert late.value.reason == "timeout"
    async with PictureBudget().limit():
        await asyncio.sleep(0)
