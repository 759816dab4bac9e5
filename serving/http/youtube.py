"""`/youtube/{video_id}`: a video's counts from the YouTube Data API v3, where the operator has a key for it.

Off without `MILES_YOUTUBE_API_KEY`. Requests go through the thumbnail guard with a policy of their own:
one host, no redirects, a small body; the key is in a header, never in a URL. An answer is kept for a minute,
and look-ups are limited per client and in total, because the operator's quota is limited (10,000 a day).
"""

import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, Path, Request
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, Field

from features.parsing import PARSERS, parse_text
from preprocessing.image import ImageError
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy
from serving.errors import NoYouTubeKeyError, UnknownVideoError, YouTubeError
from serving.http.auth import KEY_DECLARED
from serving.http.problems import YOUTUBE_PROBLEMS
from serving.http.rate_limit import RateLimiter
from serving.lifecycle.predictor import thumbnail_policy
from serving.scoring.admission import CLIENT
from serving.settings import Settings

MAX_BYTES = 256 * 1024  # a description has at most 5,000 bytes
PER_CLIENT, PER_SERVICE = 10, 30  # look-ups per minute
KEPT_S, KEPT_VIDEOS = 60.0, 500
PARTS = "snippet,statistics,contentDetails"
FIELDS = "items(snippet(title,description,publishedAt),statistics,contentDetails(duration))"
VideoId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{11}$", description="The 11 characters after `v=`.")]


class YouTubeVideo(BaseModel):
    """A video as YouTube knows it: fields of a request, null where YouTube gives no value."""

    title: str
    description: str
    thumbnail_url: str
    view_count: int | None
    like_count: int | None
    comment_count: int | None
    duration_seconds: float | None
    published_at: datetime | None
    observed_at: datetime = Field(description="When YouTube was asked.")


class YouTube:
    """Looks videos up; `fetcher` is None without a key."""

    def __init__(self, api_url: str, fetcher: ThumbnailFetcher | None) -> None:
        self._api_url, self._fetcher = api_url, fetcher
        # Separate registries: the limit of scores already uses these metrics' names.
        self._client_limit = RateLimiter(PER_CLIENT, CollectorRegistry())
        self._limit = RateLimiter(PER_SERVICE, CollectorRegistry())
        self._known: OrderedDict[str, tuple[float, YouTubeVideo]] = OrderedDict()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, thumbnails: ThumbnailPolicy) -> AsyncIterator["YouTube"]:
        """An instance with its own connections; it shares networks and proxy with the policy `thumbnails`."""
        if settings.youtube_api_key is None:
            yield cls(settings.youtube_api_url, None)
            return
        host = urlsplit(settings.youtube_api_url).hostname or ""
        policy = replace(
            thumbnails,
            max_bytes=MAX_BYTES,
            allowed_hosts=(host,),
            max_redirects=0,
            headers={host: {"X-Goog-Api-Key": settings.youtube_api_key.get_secret_value()}},
        )
        async with ThumbnailFetcher(policy) as fetcher:
            yield cls(settings.youtube_api_url, fetcher)

    async def look_up(self, video_id: str, client: str) -> YouTubeVideo:
        """The video, at most `KEPT_S` seconds old.

        Raises `NoYouTubeKeyError`, `RateLimitedError`, `UnknownVideoError` and `YouTubeError`.
        """
        if self._fetcher is None:
            raise NoYouTubeKeyError(
                "This service does not look up YouTube's counts: MILES_YOUTUBE_API_KEY is not set."
            )
        if (kept := self._known.get(video_id)) and time.monotonic() - kept[0] < KEPT_S:
            return kept[1]
        for limiter, party in ((self._client_limit, client), (self._limit, "")):
            if not limiter.take(party, 1):
                raise limiter.refuse(party)
        asked_at, video = time.monotonic(), await self._ask(self._fetcher, video_id)
        self._known[video_id] = asked_at, video
        self._known.move_to_end(video_id)
        if len(self._known) > KEPT_VIDEOS:
            self._known.popitem(last=False)
        return video

    async def _ask(self, fetcher: ThumbnailFetcher, video_id: str) -> YouTubeVideo:
        url = f"{self._api_url}/videos?part={PARTS}&fields={FIELDS}&id={video_id}"
        try:
            body = await fetcher.fetch(url)
        except ImageError as exc:
            hint = "; the key may be invalid, or its quota used up" if exc.reason == "http_403" else ""
            raise YouTubeError(f"YouTube could not be asked: {exc}{hint}.") from exc
        return _read(body, video_id)


def _read(body: bytes, video_id: str) -> YouTubeVideo:
    """The first item of the API's answer, from untrusted text."""
    try:
        items = json.loads(body)["items"]
        if not items:
            raise UnknownVideoError(f"YouTube has no public video {video_id}.")
        snippet, counts = items[0]["snippet"], items[0].get("statistics", {})
        return YouTubeVideo(
            title=parse_text(snippet["title"]),
            description=parse_text(snippet.get("description", "")),
            thumbnail_url=f"https://i.ytimg.com/vi/{video_id}/hqdefault.jpg",
            view_count=_parsed("view_count", counts.get("viewCount")),
            like_count=_parsed("like_count", counts.get("likeCount")),
            comment_count=_parsed("comment_count", counts.get("commentCount")),
            duration_seconds=_parsed("duration_seconds", items[0].get("contentDetails", {}).get("duration")),
            published_at=_parsed("published_at", snippet.get("publishedAt")),
            observed_at=datetime.now(UTC),
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as exc:
        raise YouTubeError("YouTube's answer is not the Data API's: expected items with a snippet.") from exc


def _parsed(field: str, value: Any) -> Any:
    return PARSERS[field](value)


async def get_youtube(request: Request) -> YouTube:
    """The `YouTube` from the lifespan."""
    youtube: YouTube = request.state.youtube
    return youtube


YouTubeDep = Annotated[YouTube, Depends(get_youtube)]


def youtube_router(settings: Settings) -> APIRouter:
    """The route; it owns its connections while the app runs."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, YouTube]]:
        async with YouTube.open(settings, thumbnail_policy(settings)) as youtube:
            yield {"youtube": youtube}

    router = APIRouter(lifespan=lifespan, tags=["youtube"], dependencies=[KEY_DECLARED])
    router.get("/youtube/{video_id}", responses=YOUTUBE_PROBLEMS)(youtube_video)
    return router


async def youtube_video(video_id: VideoId, youtube: YouTubeDep) -> YouTubeVideo:
    """A video's title and counts from YouTube; requires MILES_YOUTUBE_API_KEY."""
    return await youtube.look_up(video_id, CLIENT.get())
