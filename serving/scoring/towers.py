"""The two towers, and the encoders that make their input from a video: text or a URL in, a vector out.

Everything that can go wrong with one video is settled before it enters a queue, so that it never affects the
other videos of a batch.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import numpy as np
import structlog
from numpy.typing import NDArray

from features import Video
from preprocessing.decoding.pool import DecodePool
from preprocessing.image import ImageError, ImageLimits
from preprocessing.text import TokenizedText
from preprocessing.thumbnails.cache import ThumbnailCache
from preprocessing.thumbnails.fetcher import ThumbnailError
from serving.scoring.batching import BatchingQueue
from serving.scoring.cache import VectorCache, vector_key
from serving.scoring.model import LoadedModel
from serving.scoring.timing import Stopwatch

TowerName = Literal["text", "image"]
Modality = Literal["text", "image", "scalars"]
State = Literal["used", "missing", "failed", "truncated", "imputed"]
Vector = NDArray[np.float32]
Pixels = NDArray[np.uint8]
TokenIds = tuple[Sequence[int], Sequence[int]]
"""One text: its token ids, and their token types."""
Item = TypeVar("Item")
# Tokenising fewer characters is cheaper than handing them to another thread.
MAX_INLINE_CHARACTERS = 1000
GREY = 128
log = structlog.get_logger()


class Tower(Generic[Item]):
    """One frozen encoder: looks a vector up, or queues its input and runs it in a batch."""

    def __init__(
        self,
        name: TowerName,
        model: LoadedModel,
        cache: VectorCache,
        queue: BatchingQueue[Item, Vector],
        sample: Item | None,
    ) -> None:
        """`sample` is an input to probe the tower with; None if the model has no such tower."""
        self.name, self.model, self.queue = name, model, queue
        self._cache, self._fingerprint, self._sample = cache, model.fingerprint, sample

    def key(self, *content: bytes) -> bytes:
        """The cache key of an input."""
        return vector_key(self._fingerprint, self.name, *content)

    def recall(self, key: bytes, watch: Stopwatch) -> Vector | None:
        """The cached vector, if there is one."""
        vector = self._cache.recall(key)
        if vector is not None:
            watch.cached.append(self.name)
        return vector

    async def encode(
        self, key: bytes, prepare: Callable[[], Awaitable[Item]], watch: Stopwatch, *, urgent: bool = True
    ) -> Vector:
        """The vector of `key`: cached, or computed from what `prepare` returns.

        Raises what `prepare` or the forward raised, or `FloatingPointError`.
        """

        async def compute() -> Vector:
            return await self._submit(await prepare(), watch, urgent=urgent)

        vector, is_cached = await self._cache.get(key, compute)
        if is_cached:
            watch.cached.append(self.name)
        return vector

    async def probe(self) -> Vector:
        """The vector of the sample, never a cached one. Raises what the forward raised."""
        if self._sample is None:
            return self.model.engine.neutral_image
        return await self._submit(self._sample, Stopwatch())

    async def _submit(self, item: Item, watch: Stopwatch, *, urgent: bool = True) -> Vector:
        ran = await self.queue.submit(item, urgent=urgent)
        watch.add("queue", ran.waited_s)
        watch.add(self.name, ran.ran_s)
        # The fusion's ReLU would turn a NaN into a plausible score.
        if not math.isfinite(float(ran.result.sum())):
            raise FloatingPointError(f"the {self.name} tower returned a non-finite vector")
        return ran.result


def text_tower(
    model: LoadedModel,
    cache: VectorCache,
    executor: Executor,
    max_batch_size: int,
    image: Tower[Pixels] | None = None,
) -> Tower[TokenIds]:
    """The tower of token ids; `image` is the slower one that the same requests wait for."""
    engine = model.engine

    def run(texts: Sequence[TokenIds]) -> list[Vector]:
        return list(engine.encode_text([ids for ids, _ in texts], [types for _, types in texts]))

    # Where several batches run at once, one ends all the time: there is nothing to wait for.
    partner = image.queue if image and engine.at_once == 1 else None
    queue = BatchingQueue[TokenIds, Vector](
        run, executor, max_batch_size, lambda text: len(text[0]), partner, engine.at_once
    )
    sample = model.tokenizer.encode("a video", "")
    return Tower("text", model, cache, queue, (sample.input_ids, sample.token_type_ids))


def image_tower(
    model: LoadedModel, cache: VectorCache, executor: Executor, max_batch_size: int
) -> Tower[Pixels]:
    """The tower of decoded pictures."""
    engine, spec = model.engine, model.image_spec

    def run(images: Sequence[Pixels]) -> list[Vector]:
        return list(engine.encode_image(np.stack(images)))

    queue = BatchingQueue[Pixels, Vector](run, executor, max_batch_size, at_once=engine.at_once)
    grey = np.full((spec.height, spec.width, 3), GREY, dtype=np.uint8) if spec else None
    return Tower("image", model, cache, queue, grey)


@dataclass(frozen=True, slots=True)
class ModalityReport:
    """What became of one modality; `reason` is None when it was used unchanged."""

    state: State
    reason: str | None = None

    @property
    def satisfies(self) -> bool:
        """Whether it counts for a client that requires this modality."""
        return self.state in ("used", "truncated")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tower's vector for one video, and what to report about it."""

    vector: Vector
    report: ModalityReport
    warnings: tuple[str, ...] = ()


class TextEncoder:
    """Title and description to the text vector."""

    def __init__(self, tower: Tower[TokenIds], workers: Executor) -> None:
        """`workers` tokenise long texts."""
        self.tower = tower
        self._tokenizer, self._workers = tower.model.tokenizer, workers

    async def encode(self, video: Video, watch: Stopwatch, *, urgent: bool = False) -> Encoded:
        """The vector of a video's text; `urgent` when no picture is waited for beside it.

        Raises what the forward raised.
        """
        with watch.measure("tokenise"):
            tokens = await self._tokenise(video)
        ids, types = np.array(tokens.input_ids, "<i8"), np.array(tokens.token_type_ids, "<i8")
        key = self.tower.key(ids.tobytes(), types.tobytes())

        async def prepare() -> TokenIds:
            return tokens.input_ids, tokens.token_type_ids

        vector = await self.tower.encode(key, prepare, watch, urgent=urgent)
        report, warnings = ModalityReport("used"), []
        if tokens.dropped_tokens:
            read = f"first {len(tokens)} of {len(tokens) + tokens.dropped_tokens} tokens"
            report = ModalityReport("truncated", read)
            warnings.append(f"The text is too long for the model; it read the {read}.")
        if video.description.strip() and "description" not in self._tokenizer.spec.fields:
            warnings.append("This checkpoint was trained on titles only; the description's text was ignored.")
        return Encoded(vector, report, tuple(warnings))

    async def _tokenise(self, video: Video) -> TokenizedText:
        encode = self._tokenizer.encode
        if len(video.title) + len(video.description) <= MAX_INLINE_CHARACTERS:
            return encode(video.title, video.description)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, encode, video.title, video.description)


class ImageEncoder:
    """A thumbnail's URL to the image vector; a thumbnail that cannot be used becomes the neutral image."""

    def __init__(
        self, tower: Tower[Pixels], thumbnails: ThumbnailCache, limits: ImageLimits, processes: int
    ) -> None:
        """`processes` decode."""
        self.tower = tower
        self._thumbnails = thumbnails
        spec, card = tower.model.image_spec, tower.model.card
        self._decoders = DecodePool(spec, limits, processes) if spec else None
        self._warnings: tuple[str, ...] = ()
        if "image" in card.zero_weight_modalities:
            self._warnings = ("This checkpoint gives images no weight: its training data has none.",)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the decoding processes running."""
        async with self._decoders or nullcontext():
            yield

    async def warm_up(self) -> None:
        """Return when the decoding processes have started."""
        if self._decoders is not None:
            await self._decoders.ready()

    async def encode(self, url: str | None, watch: Stopwatch) -> Encoded:
        """The vector of a thumbnail, or of the neutral image. Raises what the forward raised."""
        if self._decoders is None:
            return self._neutral("missing", "no_image_tower")
        if url is None:
            return self._neutral("missing", "no_thumbnail")
        try:
            vector = await self._vector(url, self._decoders, watch)
        except (ThumbnailError, ImageError) as exc:
            log.info("thumbnail_failed", reason=exc.reason, detail=str(exc))
            warning = f"The thumbnail could not be used ({exc.reason}); a neutral image was scored instead."
            return self._neutral("failed", exc.reason, warning)
        return Encoded(vector, ModalityReport("used"), self._warnings)

    async def _vector(self, url: str, decoders: DecodePool, watch: Stopwatch) -> Vector:
        with watch.measure("download"):
            content = await self._thumbnails.identify(url)
        vector = self.tower.recall(self.tower.key(content.digest), watch)
        if vector is not None:
            return vector
        body = content.body
        if body is None:  # the digest is known, but the vector was evicted
            with watch.measure("download"):
                content = await self._thumbnails.download(url)
            body = content.body

        async def prepare() -> Pixels:
            with watch.measure("decode"):
                return await decoders.decode(body)

        return await self.tower.encode(self.tower.key(content.digest), prepare, watch)

    def _neutral(self, state: State, reason: str, *warnings: str) -> Encoded:
        return Encoded(self.tower.model.engine.neutral_image, ModalityReport(state, reason), warnings)
