"""Loads a row's thumbnail: a file named after the video, or its URL through the service's own fetcher.

A failure is a sentence, not an exception: the row is treated as one without a thumbnail.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from preprocessing.decoding.pool import DecodePool
from preprocessing.image import ImageError, emptiness
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy
from training.data.dataset import DatasetError, Split

KINDS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif")


@dataclass(frozen=True)
class ThumbnailSource:
    """A folder with VIDEO_ID.jpg, .png, .webp, .gif or .avif files, or None for the rows' URLs."""

    folder: Path | None = None
    policy: ThumbnailPolicy = field(default_factory=ThumbnailPolicy)

    @cached_property
    def files(self) -> dict[str, Path]:
        """Files by video id. Raises `DatasetError` for a folder that cannot be read."""
        assert self.folder is not None, "only a folder has files"
        try:
            found = sorted(self.folder.iterdir(), key=_preference)
        except OSError as exc:
            raise DatasetError(
                f"{self.folder}: cannot be read ({exc.strerror}); expected a folder with VIDEO_ID.jpg files"
            ) from exc
        files: dict[str, Path] = {}
        for path in found:
            if path.suffix.lower() in KINDS:
                files.setdefault(path.stem, path)
        return files

    def places(self, split: Split) -> list[str | None]:
        """The path or URL of each row's thumbnail, or None."""
        if self.folder is None:
            return [url or None for url in split.thumbnail_urls]
        return [str(self.files[name]) if name in self.files else None for name in split.video_ids]


def _preference(path: Path) -> tuple[int, str]:
    kind = path.suffix.lower()
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), path.name)


@dataclass(frozen=True, slots=True)
class LoadedThumbnail:
    """A thumbnail's bytes, or the reason for not having them."""

    place: str
    encoded: bytes | None
    problem: str | None = None


async def load(
    places: Sequence[str], source: ThumbnailSource, fetcher: ThumbnailFetcher
) -> list[LoadedThumbnail]:
    """The bytes at each place, loaded concurrently."""
    return list(await asyncio.gather(*(_load(place, source, fetcher) for place in places)))


async def _load(place: str, source: ThumbnailSource, fetcher: ThumbnailFetcher) -> LoadedThumbnail:
    try:
        if source.folder is not None:
            return LoadedThumbnail(place, await asyncio.to_thread(Path(place).read_bytes))
        return LoadedThumbnail(place, await fetcher.fetch(place))
    except ImageError as exc:
        return LoadedThumbnail(place, None, f"{exc.reason}: {exc}")
    except OSError as exc:
        return LoadedThumbnail(place, None, f"unreadable: {exc.strerror}")


async def decode(thumbnails: Sequence[LoadedThumbnail], pool: DecodePool) -> list[object]:
    """The pixels of each thumbnail, or a reason and a sentence for not having or not using them."""
    return list(await asyncio.gather(*(_decode(thumbnail, pool) for thumbnail in thumbnails)))


async def _decode(thumbnail: LoadedThumbnail, pool: DecodePool) -> object:
    assert thumbnail.encoded is not None, "only what was loaded is decoded"
    try:
        decoded = await pool.decode(thumbnail.encoded)
        empty = emptiness(decoded.traits, decoded.width, decoded.height)
        return ": ".join(empty) if empty else decoded.pixels
    except ImageError as exc:
        return f"{exc.reason}: {exc}"
