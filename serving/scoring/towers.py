"""The two towers as a request sees them: words or a URL in, a vector and an account of it out.

Each tower has a queue of its own. Everything that can go wrong with one video is decided before it enters a
queue, so that it never touches its neighbours.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

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
from serving.scoring.cache import VectorCache, image_key, text_key
from serving.scoring.model import LoadedModel
from serving.scoring.timing import Stopwatch

Modality = Literal["text", "image", "scalars"]
State = Literal["used", "missing", "failed", "truncated", "imputed"]
Vector = NDArray[np.float32]
Pixels = NDArray[np.uint8]
# Tokenising so few characters is cheaper than handing them to another thread.
SHORT_TEXT = 1000
GREY = 128
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModalityReport:
    """What became of one modality; `reason` is None when it was used as it is."""

    state: State
    reason: str | None = None

    @property
    def satisfies(self) -> bool:
        """Whether a client that requires this modality has got it; a truncated text is one."""
        return self.state in ("used", "truncated")


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tower's vector for one video, and what to say about it."""

    vector: Vector
    report: ModalityReport
    warnings: tuple[str, ...] = ()


class TextTower:
    """Title and description to the text vector."""

    def __init__(
        self,
        model: LoadedModel,
        cache: VectorCache,
        forward: Executor,
        workers: Executor,
        max_batch_size: int,
        image: "ImageTower",
    ) -> None:
        """`image` is the tower that the same requests wait for, and longer."""
        self._model, self._cache, self._workers = model, cache, workers
        at_once = model.engine.at_once
        # Batches that run at once end all the time: there is nothing to wait for.
        partner = image.queue if at_once == 1 else None
        self.queue = BatchingQueue[TokenizedText, Vector](
            self._run, forward, max_batch_size, length=len, partner=partner, at_once=at_once
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve the tower's queue."""
        async with self.queue:
            yield

    async def encode(self, video: Video, watch: Stopwatch, *, alone: bool = False) -> Encoded:
        """The vector of a video's words; `alone` when no picture is waited for beside them.

        Raises what the forward raised.
        """
        with watch.measure("tokenise"):
            tokens = await self._tokenise(video)

        async def compute() -> Vector:
            ran = await self.queue.submit(tokens, urgent=alone)
            watch.add("queue", ran.waited_s)
            watch.add("text", ran.ran_s)
            return _finite(ran.result)

        key = text_key(self._model.fingerprint, tokens.input_ids, tokens.token_type_ids)
        vector, known = await self._cache.get(key, compute)
        if known:
            watch.cached.append("text")
        return Encoded(vector, _report_text(tokens), self._about(video, tokens))

    async def probe(self) -> Vector:
        """The vector of a short text, run anew. Raises what the forward raised."""
        ran = await self.queue.submit(self._model.tokenizer.encode("a video", ""))
        return _finite(ran.result)

    async def _tokenise(self, video: Video) -> TokenizedText:
        encode = self._model.tokenizer.encode
        if len(video.title) + len(video.description) <= SHORT_TEXT:
            return encode(video.title, video.description)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, encode, video.title, video.description)

    def _about(self, video: Video, tokens: TokenizedText) -> tuple[str, ...]:
        warnings = []
        if tokens.dropped_tokens:
            warnings.append(f"The text is too long for the model, which read the {_read(tokens)}.")
        if video.description.strip() and "description" not in self._model.tokenizer.spec.fields:
            warnings.append(
                "This checkpoint was trained on titles alone; the description's words were not read."
            )
        return tuple(warnings)

    def _run(self, texts: Sequence[TokenizedText]) -> list[Vector]:
        ids, types = [text.input_ids for text in texts], [text.token_type_ids for text in texts]
        return list(self._model.engine.encode_text(ids, types))


class ImageTower:
    """A thumbnail's URL to the image vector; whatever is wrong with it ends in the neutral image."""

    def __init__(
        self,
        model: LoadedModel,
        cache: VectorCache,
        thumbnails: ThumbnailCache,
        limits: ImageLimits,
        forward: Executor,
        decoders: int,
        max_batch_size: int,
    ) -> None:
        """`decoders` is how many processes decode."""
        self._model, self._cache, self._thumbnails = model, cache, thumbnails
        self._decoders = DecodePool(model.image_spec, limits, decoders) if model.image_spec else None
        self.queue = BatchingQueue[Pixels, Vector](
            self._run, forward, max_batch_size, at_once=model.engine.at_once
        )
        self._warnings: tuple[str, ...] = ()
        if "image" in model.card.zero_weight_modalities:
            self._warnings = ("This checkpoint gives images no weight: the data it was trained on has none.",)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve the tower's queue, and have processes that decode for it."""
        async with self.queue, self._decoders or nullcontext():
            yield

    async def warm_up(self) -> None:
        """Return when the processes that decode are there."""
        if self._decoders is not None:
            await self._decoders.ready()

    async def probe(self) -> Vector:
        """The vector of a grey picture, run anew, or of the neutral one. Raises what the forward raised."""
        spec = self._model.image_spec
        if spec is None:
            return self._model.engine.neutral_image
        ran = await self.queue.submit(np.full((spec.height, spec.width, 3), GREY, dtype=np.uint8))
        return _finite(ran.result)

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
            sentence = f"The thumbnail could not be used ({exc.reason}); the score is for a neutral image."
            return self._neutral("failed", exc.reason, sentence)
        return Encoded(vector, ModalityReport("used"), self._warnings)

    async def _vector(self, url: str, decoders: DecodePool, watch: Stopwatch) -> Vector:
        """A known picture's vector at once; otherwise its bytes, decoded and run."""
        with watch.measure("download"):
            content = await self._thumbnails.identify(url)
        known = self._cache.recall(image_key(self._model.fingerprint, content.digest))
        if known is not None:
            watch.cached.append("image")
            return known
        if content.body is None:  # its vector was given up, and nobody keeps the bytes
            with watch.measure("download"):
                content = await self._thumbnails.download(url)
        body = content.body
        assert body is not None, "a download has a body"

        async def compute() -> Vector:
            with watch.measure("decode"):
                pixels = await decoders.decode(body)
            ran = await self.queue.submit(pixels)
            watch.add("queue", ran.waited_s)
            watch.add("image", ran.ran_s)
            return _finite(ran.result)

        vector, is_known = await self._cache.get(image_key(self._model.fingerprint, content.digest), compute)
        if is_known:
            watch.cached.append("image")
        return vector

    def _neutral(self, state: State, reason: str, *warnings: str) -> Encoded:
        return Encoded(self._model.engine.neutral_image, ModalityReport(state, reason), warnings)

    def _run(self, images: Sequence[Pixels]) -> list[Vector]:
        return list(self._model.engine.encode_image(np.stack(images)))


def _finite(vector: Vector) -> Vector:
    """A tower's output, unless it holds what is no number: a ReLU would make a plausible score of that."""
    if not math.isfinite(float(vector.sum())):
        raise FloatingPointError("a tower gave a vector that holds what is no number")
    return vector


def _report_text(tokens: TokenizedText) -> ModalityReport:
    return ModalityReport("truncated", _read(tokens)) if tokens.dropped_tokens else ModalityReport("used")


def _read(tokens: TokenizedText) -> str:
    return f"first {len(tokens)} of {len(tokens) + tokens.dropped_tokens} tokens"
