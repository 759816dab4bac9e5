"""Which picture a URL holds, remembered for a while, so that a video scored again is not downloaded again.

Only a picture's digest is kept, never its bytes: a caller that has the digest's vector needs no bytes, and
one that does not have it downloads them again.

    identify    within the TTL no request; after it a conditional one; else a download
    download    always the bytes, because the vector is gone

The TTL is the operator's; Cache-Control is not read. An error is not remembered: it may be over by the next
request, and the policy's deadline and number of connections bound what a dead URL costs.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from preprocessing.image import decode_data_url, is_data_url
from preprocessing.thumbnails.fetcher import Download, ThumbnailFetcher, Validators
from serving.scoring.cache import SingleFlight

DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Content:
    """The picture behind a URL; `body` is None where it was not downloaded because its digest is known."""

    digest: bytes
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Picture(Content):
    """A picture with its bytes."""

    body: bytes


@dataclass(frozen=True, slots=True)
class _Remembered:
    """At most half a kilobyte: the digest is fixed, the validators are bounded, the URL is a digest too."""

    digest: bytes
    validators: Validators | None
    asked_at: float


class ThumbnailCache:
    """The contents of up to `max_entries` URLs, the least recently asked given up first. For one event loop.

    `ttl_s` is in seconds of `clock`. Counts: `fresh` answers without a request, `unchanged` ones with a
    304, `downloads`, and `collapsed` ones that waited for another's request.
    """

    def __init__(
        self,
        fetcher: ThumbnailFetcher,
        ttl_s: float = 300.0,
        max_entries: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert ttl_s >= 0, "a TTL is not negative"
        assert max_entries >= 0, "a cache holds no fewer than 0 entries"
        self._fetcher = fetcher
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._clock = clock
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._identifying = SingleFlight[Content]()
        self._downloading = SingleFlight[Picture]()
        self.fresh = 0
        self.unchanged = 0
        self.downloads = 0

    @property
    def entries(self) -> int:
        """How many URLs are remembered."""
        return len(self._remembered)

    @property
    def collapsed(self) -> int:
        """How many calls waited for a request that another had begun."""
        return self._identifying.collapsed + self._downloading.collapsed

    async def identify(self, url: str) -> Content:
        """What the URL holds, for the least work. Raises `ImageError`."""
        if is_data_url(url):
            return await self.download(url)
        key = _digest(url.encode("utf-8", "surrogatepass"))  # half a character is for the fetcher to refuse
        known = self._recall(key)
        if known is None:
            return await self._download_once(key, url)
        if self._clock() - known.asked_at < self._ttl_s:
            self.fresh += 1
            return Content(known.digest, None)
        if known.validators is None:
            return await self._download_once(key, url)
        return await self._identifying.run(key, partial(self._revalidate, key, url, known, known.validators))

    async def download(self, url: str) -> Picture:
        """The bytes that the URL holds now, perhaps other ones than `identify` spoke of.

        Raises `ImageError`.
        """
        if is_data_url(url):
            body = decode_data_url(url, self._fetcher.policy.max_bytes)
            return Picture(_digest(body), body)
        return await self._download_once(_digest(url.encode("utf-8", "surrogatepass")), url)

    async def _download_once(self, key: bytes, url: str) -> Picture:
        return await self._downloading.run(key, partial(self._download, key, url))

    async def _download(self, key: bytes, url: str) -> Picture:
        asked_at = self._clock()  # before the request: a change that it may have missed ages with it
        return self._keep(key, await self._fetcher.download(url), asked_at)

    async def _revalidate(self, key: bytes, url: str, known: _Remembered, validators: Validators) -> Content:
        asked_at = self._clock()
        download = await self._fetcher.download_if_changed(url, validators)
        if download is not None:
            return self._keep(key, download, asked_at)
        self.unchanged += 1
        self._remember(key, replace(known, asked_at=asked_at))
        return Content(known.digest, None)

    def _keep(self, key: bytes, download: Download, asked_at: float) -> Picture:
        self.downloads += 1
        picture = Picture(_digest(download.body), download.body)
        self._remember(key, _Remembered(picture.digest, download.validators, asked_at))
        return picture

    def _recall(self, key: bytes) -> _Remembered | None:
        known = self._remembered.get(key)
        if known is not None:
            self._remembered.move_to_end(key)
        return known

    def _remember(self, key: bytes, entry: _Remembered) -> None:
        present = self._remembered.get(key)
        if present is not None and present.asked_at > entry.asked_at:
            return  # a download overtook this request and saw the picture later
        self._remembered[key] = entry
        self._remembered.move_to_end(key)
        if len(self._remembered) > self._max_entries:
            self._remembered.popitem(last=False)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
