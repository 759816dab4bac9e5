"""Requests for videos that do not exist: real title lengths, random words and counts.

Titles are English words of one token each, drawn at random, with the lengths of 5,634 US trending titles
(median 13 tokens, including [CLS] and [SEP]). No two have the same words, and no two thumbnails the same
pixels.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.text import BERT_VOCABULARY

# Tokens per title at the 5th, 15th, ... 95th percentile, including [CLS] and [SEP].
TITLE_TOKENS = (7, 9, 10, 11, 12, 14, 15, 17, 19, 23)
MEDIAN_TITLE = 13
SPECIAL_TOKENS = 2
KNOWN_VIDEOS = 16
FIRST_DAY = datetime(2025, 1, 1, 0, 30, tzinfo=UTC)  # not midnight, which would be a day
Request = dict[str, Any]


@cache
def words() -> NDArray[np.str_]:
    """English words that are a single token in the vocabulary."""
    lines = BERT_VOCABULARY.read_text(encoding="utf-8").splitlines()
    return np.array([word for word in lines if word.isascii() and word.isalpha() and 3 <= len(word) <= 9])


class Workload:
    """An endless supply of videos; the same seed gives the same ones."""

    def __init__(self, host: str, seed: int = 5) -> None:
        """`host` is where the thumbnails are, as a URL without a path."""
        self._host = host
        self._draw = np.random.default_rng(seed)
        self._next = 0

    def new_videos(self, count: int) -> list[Request]:
        """Videos with titles and thumbnails that were not used before."""
        return [self._video() for _ in range(count)]

    def known_videos(self) -> list[Request]:
        """A small set of videos to be scored repeatedly."""
        return self.new_videos(KNOWN_VIDEOS)

    def again(self, videos: list[Request]) -> Iterator[Request]:
        """Endlessly the same videos, with new counts each time."""
        while True:
            for video in videos:
                yield video | self._counts()

    def rescored(self, videos: list[Request], count: int) -> list[Request]:
        """`count` requests for these videos, with new counts."""
        return list(islice(self.again(videos), count))

    def _video(self) -> Request:
        tokens = TITLE_TOKENS[self._next % len(TITLE_TOKENS)]
        title = " ".join(self._draw.choice(words(), tokens - SPECIAL_TOKENS))
        thumbnail = f"{self._host}/{self._next}.jpg"
        self._next += 1
        published = FIRST_DAY + timedelta(hours=float(self._draw.integers(0, 5000)))
        return {
            "title": title.capitalize(),
            "description": "",
            "thumbnail_url": thumbnail,
            "duration_seconds": float(self._draw.integers(10, 600)),
            "published_at": published.isoformat(),
            "observed_at": (published + timedelta(hours=float(self._draw.integers(1, 200)))).isoformat(),
            **self._counts(),
        }

    def _counts(self) -> dict[str, int]:
        views = int(10 ** self._draw.uniform(2, 7))
        likes, comments = self._draw.uniform(0, 0.1), self._draw.uniform(0, 0.01)
        return {
            "view_count": views,
            "like_count": int(views * likes),
            "comment_count": int(views * comments),
        }


def write_bodies(path: Path, requests: list[Request], *, in_a_list: bool = False) -> Path:
    """Write one JSON body per line; `in_a_list` wraps each in a list, for a server that takes batches."""
    lines = (json.dumps([request] if in_a_list else request) for request in requests)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
