"""A row's thumbnail: a file named after the video, or its URL through the service's own fetcher.

A failure is a sentence, not an exception: the row is treated as one without a thumbnail. `Pictures` decodes
the files again for every batch of a training, because the pixels of a whole data set do not fit into memory.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoding.pool import DecodePool
from preprocessing.image import MANY_PLACES, ImageError, ImageLimits, ImageSpec, emptiness
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from preprocessing.thumbnails.policy import ThumbnailPolicy
from training.data.dataset import SPLITS, Dataset, DatasetError, Split
from training.embeddings.cache import key_of, progress_bar

KINDS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif")
AT_ONCE = 64
DECODERS = 4
FOLDER = "thumbnails"


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
    assert thumbnail.encoded is not None, "only loaded thumbnails are decoded"
    try:
        decoded = await pool.decode(thumbnail.encoded)
        empty = emptiness(decoded.traits, decoded.width, decoded.height)
        return ": ".join(empty) if empty else decoded.pixels
    except ImageError as exc:
        return f"{exc.reason}: {exc}"


class Pictures:
    """The thumbnails of a data set; an unusable file counts as no thumbnail."""

    def __init__(self, source: ThumbnailSource, spec: ImageSpec, cache: Path | None) -> None:
        """Raises `DatasetError` for URLs without a cache."""
        if source.folder is None and cache is None:
            raise DatasetError("training on pictures at URLs needs a cache to keep their files in")
        self._source, self._spec, self._folder = source, spec, (cache or Path()) / FOLDER
        self._files: dict[str, Path] = {}
        self._places: dict[int, list[str | None]] = {}
        self._runner: asyncio.Runner
        self._pool: DecodePool

    @contextmanager
    def opened(self, dataset: Dataset) -> Iterator[Self]:
        """The pictures, while their files exist and the decoding processes run."""
        with asyncio.Runner() as self._runner:
            self._runner.run(self._fetch(dataset))
            limits = ImageLimits(max_bytes=self._source.policy.max_bytes)
            stack = AsyncExitStack()
            pool = stack.enter_async_context(DecodePool(self._spec, limits, DECODERS))
            self._pool = self._runner.run(pool)
            try:
                yield self
            finally:
                self._runner.run(stack.aclose())

    def __len__(self) -> int:
        return len(self._files)

    def of(self, split: Split, rows: Sequence[int]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """(B, H, W, 3) pixels of B rows of a split, zeros without a picture; (B,) which rows have one."""
        if id(split) not in self._places:
            self._places[id(split)] = self._source.places(split)
        places = self._places[id(split)]
        loaded = [
            LoadedThumbnail(place, self._files[place].read_bytes())
            for place in dict.fromkeys(places[row] for row in rows)
            if place in self._files
        ]
        decoded = self._runner.run(decode(loaded, self._pool))
        found = {each.place: pixels for each, pixels in zip(loaded, decoded, strict=True)}
        pixels = np.zeros((len(rows), self._spec.height, self._spec.width, 3), dtype=np.uint8)
        known = np.zeros(len(rows), dtype=np.bool_)
        for number, row in enumerate(rows):
            picture = found.get(places[row] or "")
            if isinstance(picture, np.ndarray):
                pixels[number], known[number] = picture, True
        return pixels, known

    async def _fetch(self, dataset: Dataset) -> None:
        """Find the file of each place; a picture found at many places is dropped."""
        places = sorted({p for name in SPLITS for p in self._source.places(dataset.split(name)) if p})
        files = {place: self._file(place) for place in places}
        missing = [place for place, path in files.items() if not path.exists()]
        async with ThumbnailFetcher(self._source.policy) as fetcher:
            with progress_bar(len(places), "thumbnails", len(places) - len(missing)) as bar:
                for start in range(0, len(missing), AT_ONCE):
                    batch = missing[start : start + AT_ONCE]
                    for each in await load(batch, self._source, fetcher):
                        if each.encoded is not None:
                            self._keep(files[each.place], each.encoded)
                    bar.update(len(batch))
        contents = {place: key_of(path.read_bytes()) for place, path in files.items() if path.exists()}
        times = Counter(contents.values())
        self._files = {
            place: files[place] for place, content in contents.items() if times[content] < MANY_PLACES
        }

    def _file(self, place: str) -> Path:
        return Path(place) if self._source.folder else self._folder / key_of(place.encode()).hex()

    def _keep(self, path: Path, encoded: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(encoded)
        partial.replace(path)
