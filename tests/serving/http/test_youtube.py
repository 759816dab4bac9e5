"""Look-ups on YouTube, against a local server that speaks the Data API v3."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from preprocessing.thumbnails.policy import ThumbnailPolicy
from serving.errors import MilesError, NoYouTubeKeyError, RateLimitedError, UnknownVideoError, YouTubeError
from serving.http.youtube import MAX_BYTES, PER_CLIENT, YouTube
from serving.settings import Settings
from tests.support.web import Asked, Reply, web_host
from tests.support.youtube import KEY, VIDEO_ID, YouTubeHost, youtube_host

LOCAL = ThumbnailPolicy(trusted_networks=(ip_network("127.0.0.0/8"),))
anyio_test = pytest.mark.anyio


@pytest.fixture(scope="module")
def youtube() -> Iterator[YouTubeHost]:
    """A local server that knows one video."""
    with youtube_host() as host:
        yield host


def settings_for(url: str) -> Settings:
    return Settings(youtube_api_key=KEY, youtube_api_url=url)


@contextmanager
def answering(reply: Reply) -> Iterator[tuple[str, list[Asked]]]:
    """A server that always gives this reply; its address, and what it was asked."""
    asked: list[Asked] = []

    def answer(request: Asked) -> Reply:
        asked.append(request)
        return reply

    with web_host(answer) as url:
        yield url, asked


@anyio_test
async def test_a_video_has_the_names_of_a_request(youtube: YouTubeHost) -> None:
    """Counts are numbers, a length is seconds, and what YouTube hides is null."""
    async with YouTube.open(settings_for(youtube.url), LOCAL) as opened:
        video = (await opened.look_up(VIDEO_ID, "a")).model_dump(mode="json", exclude={"observed_at"})
    assert video == {
        "title": "How do planes stay up?",
        "description": "Lift, explained.",
        "thumbnail_url": f"https://i.ytimg.com/vi/{VIDEO_ID}/hqdefault.jpg",
        "view_count": 210_000,
        "like_count": 18_500,
        "comment_count": None,
        "duration_seconds": 312.0,
        "published_at": "2026-03-01T12:00:00Z",
    }


@anyio_test
async def test_the_key_is_a_header_of_one_request_a_minute(youtube: YouTubeHost) -> None:
    """The second look-up is answered from memory, and no URL has the key."""
    youtube.asked.clear()
    async with YouTube.open(settings_for(youtube.url), LOCAL) as opened:
        for client in "ab":
            await opened.look_up(VIDEO_ID, client)
    (asked,) = youtube.asked
    query = parse_qs(urlsplit(asked.path).query)
    assert (query["id"], query["part"]) == ([VIDEO_ID], ["snippet,statistics,contentDetails"])
    assert asked.headers["X-Goog-Api-Key"] == KEY
    assert KEY not in asked.path


@anyio_test
async def test_each_client_has_a_few_look_ups_a_minute(youtube: YouTubeHost) -> None:
    """One client's look-ups are used up, another's are not."""
    async with YouTube.open(settings_for(youtube.url), LOCAL) as opened:
        for number in range(PER_CLIENT):
            with pytest.raises(UnknownVideoError):
                await opened.look_up(f"unknown{number:04}", "a")
        with pytest.raises(RateLimitedError):
            await opened.look_up("unknown9999", "a")
        assert (await opened.look_up(VIDEO_ID, "b")).view_count == 210_000


@anyio_test
async def test_whatever_youtube_does_is_one_of_our_errors() -> None:
    """Refusals, redirects, large bodies and text that is not the API's are errors without the key."""
    body = {
        "not JSON": b"<html>",
        "not an object": b"[]",
        "no items": b"{}",
        "an item without a title": b'{"items": [{"snippet": {}}]}',
        "a count in words": json.dumps(
            {"items": [{"snippet": {"title": "a"}, "statistics": {"viewCount": "many"}}]}
        ).encode(),
        "nested deeply": b'{"items": ' + b"[" * 100_000,
        "large": bytes(MAX_BYTES + 1),
    }
    table = {name: Reply(200, text) for name, text in body.items()} | {
        "a refusal": Reply(403, b"{}"),
        "a redirect": Reply(302, b"", {"Location": "https://example.com/"}),
        "a failure": Reply(500, b""),
    }
    failures = []
    for name, reply in table.items():
        with answering(reply) as (url, asked):
            async with YouTube.open(settings_for(url), LOCAL) as opened:
                try:
                    await opened.look_up(VIDEO_ID, "a")
                    failures.append((name, "no error"))
                except MilesError as error:
                    if not isinstance(error, YouTubeError) or KEY in str(error) or len(asked) > 1:
                        failures.append((name, repr(error)))
    assert failures == []


@anyio_test
async def test_an_address_of_this_network_is_not_asked() -> None:
    """The API's address passes the same guard as a thumbnail's."""
    with answering(Reply(200, b"{}")) as (url, asked):
        async with YouTube.open(settings_for(url), ThumbnailPolicy()) as opened:
            with pytest.raises(YouTubeError, match="not a public address"):
                await opened.look_up(VIDEO_ID, "a")
    assert asked == []


@anyio_test
async def test_it_is_off_without_a_key() -> None:
    """The error names the setting."""
    async with YouTube.open(Settings(), ThumbnailPolicy()) as opened:
        with pytest.raises(NoYouTubeKeyError, match="MILES_YOUTUBE_API_KEY"):
            await opened.look_up(VIDEO_ID, "a")


def test_the_route_is_a_problem_without_a_key_or_an_id(client: httpx.Client) -> None:
    """403 with a type that programs can recognise, and 422 for an invalid id."""
    off = client.get(f"/youtube/{VIDEO_ID}")
    assert (off.status_code, off.json()["type"]) == (403, "urn:miles:problem:no-youtube-key")
    assert client.get("/youtube/short").status_code == 422
