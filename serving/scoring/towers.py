"""The two towers: tokens or pixels in, a vector out, cached or computed in a batch with others and timed."""

import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Generic, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from model.engine import MAX_TOKENS
from preprocessing.image import Decoded, ImageSpec
from serving.scoring.batching import BatchingQueue
from serving.scoring.cache import VectorCache, vector_key
from serving.scoring.model import LoadedModel

Stage = Literal["queue", "download", "decode", "tokenise", "text", "image", "fusion", "explanation", "total"]
STAGES: tuple[Stage, ...] = get_args(Stage)
TowerName = Literal["text", "image"]
Vector = NDArray[np.float32]
TokenIds = tuple[Sequence[int], Sequence[int]]
"""One text: its token ids, and their token types."""
Item = TypeVar("Item")
# A title has a tenth of the tokens of a text at the limit, and a larger forward costs less per text.
TEXTS_PER_PICTURE = 4
GREY = 128
FACTS = 3
"""The traits, the width and the height of a picture, after its vector."""


class Stopwatch:
    """Seconds by stage of one request, and the towers whose vector was cached.

    Stages overlap: the picture is downloaded and decoded while the text is encoded. `queue` is the sum of the
    waits for the towers and the fusion. `steps` has (stage, end by `time.perf_counter`, seconds) in order.
    """

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = dict.fromkeys(STAGES, 0.0)
        self.cached: list[str] = []
        self.steps: list[tuple[Stage, float, float]] = []
        self.started = time.perf_counter()

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the time within to `stage`, even after an error."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def add(self, stage: Stage, seconds: float) -> None:
        """Add to `stage`."""
        self.seconds[stage] += seconds
        self.steps.append((stage, time.perf_counter(), seconds))

    def stop(self) -> None:
        """Set the total to the time since the stopwatch was made."""
        self.seconds["total"] = time.perf_counter() - self.started

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds by stage."""
        return {stage: round(seconds * 1000, 3) for stage, seconds in self.seconds.items()}

    def server_timing(self) -> str:
        """The value of a `Server-Timing` header (W3C Server Timing)."""
        entries = []
        for stage, milliseconds in self.milliseconds().items():
            cached = ';desc="cached"' if stage in self.cached else ""
            entries.append(f"{stage}{cached};dur={milliseconds:g}")
        return ", ".join(entries)


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
        self.cache = cache
        self._fingerprint, self._sample = model.fingerprint, sample
        engine = model.engine
        self._width = engine.text_width if name == "text" else len(engine.neutral_image) + FACTS

    def key(self, *content: bytes) -> bytes:
        """The cache key of an input."""
        return vector_key(self._fingerprint, self.name, *content)

    async def encode(
        self, key: bytes, prepare: Callable[[], Awaitable[Item]], watch: Stopwatch, *, urgent: bool = True
    ) -> Vector:
        """The vector of `key`: cached, or computed from what `prepare` returns.

        Raises what `prepare` or the forward raised, or `FloatingPointError`.
        """

        async def compute() -> Vector:
            with self.queue.expecting():
                item = await prepare()
            return await self._submit(item, watch, urgent=urgent)

        vector, is_cached = await self.cache.get(key, compute, self._width)
        if is_cached:
            watch.cached.append(self.name)
        return vector

    async def probe(self) -> Vector:
        """The vector of the sample, never a cached one. Raises what the forward raised."""
        if self._sample is None:
            return np.zeros(0, dtype=np.float32) if self.name == "text" else self.model.engine.neutral_image
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
    executor: Executor | None,
    max_batch_size: int,
    image: Tower[Decoded] | None = None,
) -> Tower[TokenIds]:
    """The tower of token ids; `image` is the slower one that the same requests wait for."""
    engine = model.engine

    def run(texts: Sequence[TokenIds]) -> list[Vector]:
        return list(engine.encode_text([ids for ids, _ in texts], [types for _, types in texts]))

    # If several batches run at once, one of them always ends soon: there is nothing to wait for.
    partner = image.queue if image and engine.at_once == 1 else None
    # A maximum of 1 means that each forward is to have one video.
    texts = TEXTS_PER_PICTURE * max_batch_size if max_batch_size > 1 else 1
    queue = BatchingQueue[TokenIds, Vector](
        run, executor, texts, lambda text: len(text[0]), partner, engine.at_once, MAX_TOKENS
    )
    sample = None
    if model.card.config.text is not None:
        tokens = model.tokenizer.encode("a video", "")
        sample = (tokens.input_ids, tokens.token_type_ids)
    return Tower("text", model, cache, queue, sample)


def image_tower(
    model: LoadedModel, cache: VectorCache, executor: Executor | None, max_batch_size: int
) -> Tower[Decoded]:
    """The tower of decoded pictures; each vector is followed by `FACTS` about its picture."""
    engine, spec = model.engine, model.image_spec

    def run(pictures: Sequence[Decoded]) -> list[Vector]:
        vectors = engine.encode_image(np.stack([picture.pixels for picture in pictures]))
        return [_with_facts(vector, picture) for vector, picture in zip(vectors, pictures, strict=True)]

    queue = BatchingQueue[Decoded, Vector](
        run, executor, max_batch_size, at_once=engine.at_once, sizes=engine.picture_batches
    )
    grey = None
    if spec is not None:
        grey = Decoded(bytes([GREY]) * (3 * spec.height * spec.width), spec, spec.width, spec.height)
    return Tower("image", model, cache, queue, grey)


def decoded_of(pixels: Sequence[NDArray[np.uint8]], spec: ImageSpec) -> list[Decoded]:
    """Pictures of pixels (height, width, 3) whose files another process has read."""
    return [Decoded(each.tobytes(), spec, spec.width, spec.height) for each in pixels]


def _with_facts(vector: Vector, picture: Decoded) -> Vector:
    """Every cache keeps the facts about a file with its vector, so that a known picture is not decoded."""
    return np.append(vector, np.array([picture.traits, picture.width, picture.height], vector.dtype))
