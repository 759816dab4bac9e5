"""Encodes every thumbnail once with the frozen image encoder; downloads run while the encoder computes.

A vector is cached under the hash of its image's bytes, and that hash under the hash of its URL: an
interrupted run neither downloads nor encodes an image again. Failed downloads are retried.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.checkpoint.store import Checkpoint
from model.engine import Engine, Vectors
from preprocessing.decoding.pool import DecodePool
from preprocessing.image import MANY_PLACES, ImageLimits, ImageReading, ImageSpec
from preprocessing.thumbnails.fetcher import ThumbnailFetcher
from training.data.dataset import SPLITS, Dataset, Split
from training.embeddings.cache import EmbeddingCache, folder_of, key_of, progress_bar
from training.embeddings.thumbnails import LoadedThumbnail, ThumbnailSource, decode, load

BATCH_SIZE = 16
DECODERS = 2
MAX_EXAMPLES = 5  # of each reason


@dataclass(frozen=True)
class ImageEmbeddings:
    """The pooled vector of the image at each path or URL; `problems` has the reasons for the others."""

    source: ThumbnailSource
    index: dict[str, int]
    vectors: Vectors
    neutral: Vectors
    """(D,) the encoder's vector for no image."""
    problems: dict[str, str] = field(default_factory=dict)

    def known(self, split: Split) -> NDArray[np.bool_]:
        """(N,) whether each row has an image."""
        return np.array([place in self.index for place in self.source.places(split)], dtype=np.bool_)

    def of(self, split: Split) -> Vectors:
        """(N, D), the neutral vector for a row without an image."""
        rows = np.tile(self.neutral, (len(split), 1))
        for row, place in enumerate(self.source.places(split)):
            if place in self.index:
                rows[row] = self.vectors[self.index[place]]
        return rows

    def counts(self, dataset: Dataset) -> dict[str, dict[str, int]]:
        """Per split: the number of rows with an image, without one, and with one that failed, by reason."""
        found = {}
        for name in SPLITS:
            places = self.source.places(dataset.split(name))
            states = Counter(self._state(place) for place in places)
            found[name] = dict(sorted(states.items()))
        return found

    def problem_lines(self) -> list[str]:
        """Lines for a person: the number of failed images by reason, and the first of each."""
        by_reason: dict[str, list[str]] = {}
        for place, problem in sorted(self.problems.items()):
            by_reason.setdefault(problem.partition(":")[0], []).append(f"{_shown(place)}: {problem}")
        lines = []
        for reason, sentences in sorted(by_reason.items(), key=lambda item: -len(item[1])):
            lines.append(f"  {reason}: {len(sentences)} thumbnails, treated as missing")
            lines += [f"    {sentence}" for sentence in sentences[:MAX_EXAMPLES]]
        return lines

    def _state(self, place: str | None) -> str:
        if place is None:
            return "missing"
        return "used" if place in self.index else self.problems[place].partition(":")[0]


def encode_thumbnails(
    engine: Engine,
    checkpoint: Checkpoint,
    dataset: Dataset,
    source: ThumbnailSource,
    cache: Path | None = None,
) -> ImageEmbeddings | None:
    """Vectors of all thumbnails of the three splits, from `cache` if there; None if no row has a thumbnail.

    Raises `DatasetError` for a folder that cannot be read.
    """
    places = sorted({place for name in SPLITS for place in source.places(dataset.split(name)) if place})
    vision = checkpoint.card.config.vision
    if not places or vision is None:
        return None
    folder = folder_of(checkpoint, "image", cache)
    # A file that is read in another way has another vector.
    reading = ImageReading(**checkpoint.card.image.model_dump())
    suffix = "seen-srgb" if reading.scale == "full" else "seen-srgb-half"
    folder = folder.with_name(f"{folder.name}-{suffix}") if folder else None
    run = _Encoding(
        engine=engine,
        source=source,
        spec=ImageSpec(vision.height, vision.width, reading),
        vectors=EmbeddingCache(folder),
        contents=EmbeddingCache(folder / "urls" if folder else None),
    )
    asyncio.run(run.encode(places))
    index = {place: row for row, place in enumerate(sorted(run.keys))}
    found = np.stack([run.vectors[run.keys[place]] for place in index]) if index else np.zeros((0, 0))
    return ImageEmbeddings(source, index, found.astype(np.float32), engine.neutral_image, run.problems)


@dataclass
class _Encoding:
    """One pass over all paths or URLs; `keys` are the content hashes of those with an image."""

    engine: Engine
    source: ThumbnailSource
    spec: ImageSpec
    vectors: EmbeddingCache
    contents: EmbeddingCache
    """From a URL's key to its content's key."""
    keys: dict[str, bytes] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    async def encode(self, places: Sequence[str]) -> None:
        """Load, decode and encode all that is not cached."""
        rest = [place for place in places if not self._is_cached(place)]
        batches = [rest[start : start + BATCH_SIZE] for start in range(0, len(rest), BATCH_SIZE)]
        done = len(places) - len(rest)
        async with (
            ThumbnailFetcher(self.source.policy) as fetcher,
            DecodePool(self.spec, ImageLimits(max_bytes=self.source.policy.max_bytes), DECODERS) as pool,
        ):
            with progress_bar(len(places), "thumbnails", done) as bar:
                pending = self._start(batches[:1], fetcher)
                for number, batch in enumerate(batches, 1):
                    thumbnails = await pending
                    pending = self._start(batches[number : number + 1], fetcher)
                    await self._encode_batch(thumbnails, pool)
                    bar.update(len(batch))
                await pending
        self._drop_repeated()

    def _drop_repeated(self) -> None:
        """Drop a picture that occurs at many places: it shows none of their videos."""
        times = Counter(self.keys.values())
        for place in [place for place, key in self.keys.items() if times[key] >= MANY_PLACES]:
            number = times[self.keys.pop(place)]
            self.problems[place] = f"repeated: the same picture for {number} videos, probably a placeholder"

    def _start(
        self, batches: Sequence[Sequence[str]], fetcher: ThumbnailFetcher
    ) -> "asyncio.Task[list[LoadedThumbnail]]":
        """Download the next batch while this one is encoded."""
        places = [place for batch in batches for place in batch]
        return asyncio.create_task(load(places, self.source, fetcher))

    def _is_cached(self, place: str) -> bool:
        """Whether this URL's image was encoded before; a local file is read again, as it may have changed."""
        name = key_of(place.encode())
        if self.source.folder is not None or name not in self.contents:
            return False
        content = self.contents[name].tobytes()
        if content not in self.vectors:
            return False
        self.keys[place] = content
        return True

    async def _encode_batch(self, thumbnails: Sequence[LoadedThumbnail], pool: DecodePool) -> None:
        self.problems.update({each.place: each.problem for each in thumbnails if each.problem is not None})
        loaded = [each for each in thumbnails if each.encoded is not None]
        keys = {each.place: key_of(each.encoded or b"") for each in loaded}
        missing = {keys[each.place]: each for each in loaded if keys[each.place] not in self.vectors}
        outcomes = dict(zip(missing, await decode(list(missing.values()), pool), strict=True))
        pixels = {key: found for key, found in outcomes.items() if isinstance(found, np.ndarray)}
        if pixels:
            encoded = await asyncio.to_thread(self.engine.encode_image, np.stack(list(pixels.values())))
            self.vectors.add(list(pixels), encoded)
        for place, key in keys.items():
            if key in self.vectors:
                self.keys[place] = key
            else:
                self.problems[place] = str(outcomes[key])
        self._remember([place for place in keys if place in self.keys])

    def _remember(self, places: Sequence[str]) -> None:
        if self.source.folder is None and places:
            contents = np.stack([np.frombuffer(self.keys[place], dtype=np.uint8) for place in places])
            self.contents.add([key_of(place.encode()) for place in places], contents)


def _shown(place: str) -> str:
    """A file's name, or a URL without its query, which may hold secrets."""
    if "://" not in place:
        return Path(place).name if not place.startswith("data:") else "data:"
    return place.partition("?")[0]
