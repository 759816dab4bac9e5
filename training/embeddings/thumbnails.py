"""A row's thumbnail: a file named after the video, or its URL through the service's own fetcher.

What cannot be had is a sentence, never an exception: the row is trained as one without a picture.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from preprocessing.decoding.pool import DecodePool
from preprocessing.image import ImageError
from preprocessing.thumbnails.fetcher import ThumbnailError, ThumbnailFetcher, ThumbnailPolicy
from training.data.dataset import DatasetError, Split

KINDS = (".jpg", ".jpeg", ".png", ".webp", ".gif")


@dataclass(frozen=True)
class Thumbnails:
    """Where thumbnails are looked for: in `folder` as VIDEO_ID.jpg and the like, or at the rows' URLs."""

    folder: Path | None = None
    policy: ThumbnailPolicy = field(default_factory=ThumbnailPolicy)

    @cached_property
    def files(self) -> dict[str, Path]:
        """Video id to file. Raises `DatasetError` for a folder that cannot be read."""
        assert self.folder is not None, "only a folder has files"
        try:
            found = sorted(self.folder.iterdir(), key=_preference)
        except OSError as exc:
            raise DatasetError(
                f"{self.folder}: cannot be read ({exc.strerror}); name the folder with VIDEO_ID.jpg files"
            ) from exc
        files: dict[str, Path] = {}
        for path in found:
            if path.suffix.lower() in KINDS:
                files.setdefault(path.stem, path)
        return files

    def places(self, split: Split) -> list[str | None]:
        """A file's path or a URL for each row, None where it has neither."""
        if self.folder is None:
            return [url or None for url in split.thumbnail_urls]
        return [str(self.files[name]) if name in self.files else None for name in split.video_ids]


def _preference(path: Path) -> tuple[int, str]:
    kind = path.suffix.lower()
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), path.name)


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail's bytes, or the reason why there are none."""

    place: str
    encoded: bytes | None
    problem: str | None = None


async def load(places: Sequence[str], source: Thumbnails, fetcher: ThumbnailFetcher) -> list[Picture]:
    """The bytes at each place, all at once."""
    return list(await asyncio.gather(*(_load(place, source, fetcher) for place in places)))


async def _load(place: str, source: Thumbnails, fetcher: ThumbnailFetcher) -> Picture:
    try:
        if source.folder is not None:
            return Picture(place, await asyncio.to_thread(Path(place).read_bytes))
        return Picture(place, await fetcher.fetch(place))
    except ThumbnailError as exc:
        return Picture(place, None, f"{exc.reason}: {exc}")
    except OSError as exc:
        return Picture(place, None, f"unreadable: {exc.strerror}")


async def decode(pictures: Sequence[Picture], pool: DecodePool) -> list[object]:
    """Pixels of each picture, or the sentence why there are none."""
    return list(await asyncio.gather(*(_decode(picture, pool) for picture in pictures)))


async def _decode(picture: Picture, pool: DecodePool) -> object:
    assert picture.encoded is not None, "only what was loaded is decoded"
    try:
        return await pool.decode(picture.encoded)
    except ImageError as exc:
        return f"{exc.reason}: {exc}"
