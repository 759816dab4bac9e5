"""Which picture a URL holds, remembered for a while, so that scoring a video again needs no second download.

Only a picture's digest is kept, never its bytes: a caller that has the digest's vector needs no bytes, and
one that does not have it downloads them again.

    identify    within the TTL no request; after it a conditional one; else a download
    download    always the bytes, because the vector is gone

The TTL is the operator's; Cache-Control is not read. An error is not remembered: it may be over by the next
request, and the policy's deadline and number of connections bound what a dead URL costs.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

from preprocessing.image import MANY_PLACES, digest_of
from preprocessing.thumbnails.fetcher import Download, ThumbnailFetcher
from preprocessing.thumbnails.response import Validators
from serving.scoring.cache import SingleFlight


@dataclass(frozen=True, slots=True)
class Content:
    """The picture behind a URL; `body` is None where it was not downloaded because its digest is known."""

    digest: bytes
    body: bytes | None
    notes: tuple[str, ...] = ()
    """Sentences about what was read instead of the URL itself."""
    is_repeated: bool = False
    """Whether the host serves the same picture under many other paths."""


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
    notes: tuple[str, ...]


class ThumbnailCache:
    """The contents of up to `max_entries` URLs; evicts the least recently used. For one event loop.

    `ttl_s` is in seconds of `clock`. Counts: `fresh` (answered without a request), `unchanged` (after a
    304), `downloads`, and `collapsed` (waited for another caller's request).
    """

    def __init__(
        self,
        fetcher: ThumbnailFetcher,
        ttl_s: float = 300.0,
        max_entries: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert ttl_s >= 0, "a TTL is not negative"
        assert max_entries >= 0, "max_entries is not negative"
        self._fetcher = fetcher
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._clock = clock
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._paths: OrderedDict[tuple[str, bytes], set[bytes]] = OrderedDict()
        """The paths of a host under which a picture was seen, at most `MANY_PLACES`."""
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
        """How many calls waited for a request that another call had begun."""
        return self._identifying.collapsed + self._downloading.collapsed

    async def identify(self, url: str, party: Hashable = None) -> Content:
        """What the URL holds, with the least work; calls of one `party` share turns. Raises `ImageError`."""
        key = digest_of(url.encode("utf-8", "surrogatepass"))  # the fetcher refuses lone surrogates
        known = self._recall(key)
        if known is None:
            return await self._download_once(key, url, party)
        if self._clock() - known.asked_at < self._ttl_s:
            self.fresh += 1
            return Content(known.digest, None, known.notes, self._is_repeated(url, known.digest))
        if known.validators is None:
            return await self._download_once(key, url, party)
        work = partial(self._revalidate, key, url, party, known, known.validators)
        return await self._identifying.run(key, work)

    async def download(self, url: str, party: Hashable = None) -> Picture:
        """The bytes that the URL holds now, which may differ from what `identify` found.

        Raises `ImageError`.
        """
        return await self._download_once(digest_of(url.encode("utf-8", "surrogatepass")), url, party)

    async def _download_once(self, key: bytes, url: str, party: Hashable) -> Picture:
        return await self._downloading.run(key, partial(self._download, key, url, party))

    async def _download(self, key: bytes, url: str, party: Hashable) -> Picture:
        asked_at = self._clock()  # before the request, which may miss a change during it
        return self._keep(key, url, await self._fetcher.download(url, party), asked_at)

    async def _revalidate(
        self, key: bytes, url: str, party: Hashable, known: _Remembered, validators: Validators
    ) -> Content:
        asked_at = self._clock()
        download = await self._fetcher.download_if_changed(url, validators, party)
        if download is not None:
            return self._keep(key, url, download, asked_at)
        self.unchanged += 1
        self._remember(key, replace(known, asked_at=asked_at))
        return Content(known.digest, None, known.notes, self._is_repeated(url, known.digest))

    def _keep(self, key: bytes, url: str, download: Download, asked_at: float) -> Picture:
        self.downloads += 1
        digest = digest_of(download.body)
        self._remember(key, _Remembered(digest, download.validators, asked_at, download.notes))
        return Picture(digest, download.body, download.notes, self._is_repeated(url, digest))

    def _is_repeated(self, url: str, digest: bytes) -> bool:
        """Whether this picture was seen under many paths of the host; signatures differ in the query only."""
        parts = urlsplit(url.strip())
        paths = self._paths.setdefault((parts.netloc, digest), set())
        self._paths.move_to_end((parts.netloc, digest))
        if len(paths) < MANY_PLACES:
            paths.add(digest_of(parts.path.encode("utf-8", "surrogatepass")))
        if len(self._paths) > self._max_entries:
            self._paths.popitem(last=False)
        return len(paths) >= MANY_PLACES

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
