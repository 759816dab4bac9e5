"""A local server for `videos.list` of the YouTube Data API v3."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

from tests.support.web import Asked, Reply, web_host

KEY = "AIza-a-key-for-tests"
VIDEO_ID = "aAbBcCdD-_1"
ITEM = {
    "snippet": {
        "title": "How do planes stay up?",
        "description": "Lift, explained.",
        "publishedAt": "2026-03-01T12:00:00Z",
    },
    "statistics": {"viewCount": "210000", "likeCount": "18500"},  # comments are switched off
    "contentDetails": {"duration": "PT5M12S"},
}


class YouTubeHost:
    """Its base URL, and the requests that it received."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []


@contextmanager
def youtube_host() -> Iterator[YouTubeHost]:
    """A server that knows the video `VIDEO_ID`, for callers with `KEY`."""
    host = YouTubeHost()

    def answer(asked: Asked) -> Reply:
        host.asked.append(asked)
        if asked.headers.get("X-Goog-Api-Key") != KEY:
            return Reply(400, b'{"error": {"code": 400, "message": "API key not valid."}}')
        parts = urlsplit(asked.path)
        if parts.path != "/youtube/v3/videos":
            return Reply(404)
        items = [ITEM] if parse_qs(parts.query).get("id") == [VIDEO_ID] else []
        return Reply(200, json.dumps({"items": items}).encode(), {"Content-Type": "application/json"})

    with web_host(answer) as url:
        host.url = f"{url}/youtube/v3"
        yield host
