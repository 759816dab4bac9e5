"""From a video to the towers' input, and what became of each modality: text or a URL in, a vector out.

Everything that can go wrong with one video is settled before it enters a tower's queue, so that it never
affects the other videos of a batch.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import structlog

from features import Video
from features.parsing import has_visible_text
from preprocessing.decoding.pool import DecodePool, DecoderUnavailableError
from preprocessing.image import (
    EMPTY_REASONS,
    REPEATED,
    Decoded,
    ImageError,
    Trait,
    decode_data_url,
    digest_of,
    emptiness,
    is_data_url,
)
from preprocessing.text import TokenizedText
from preprocessing.thumbnails.urls import WHITE_SPACE
from serving.scoring.thumbnails import Content, ThumbnailCache
from serving.scoring.towers import FACTS, Stopwatch, TokenIds, Tower, Vector
from serving.scoring.warnings import picture_warnings, word_warning

Modality = Literal["text", "image", "scalars"]
State = Literal["used", "missing", "failed", "truncated", "imputed"]
MAX_INLINE_DATA = 64 * 1024  # characters of a data: URL, which are decoded in a tenth of a millisecond
# Tokenising fewer characters is cheaper than handing them to another thread.
MAX_INLINE_CHARACTERS = 1000
# The reason of a text that was used but has no words that the encoder knows.
UNKNOWN_WORDS = "unknown_words"
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ModalityReport:
    """What became of one modality; `reason` is None when it was used unchanged."""

    state: State
    reason: str | None = None
    detail: str | None = None
    """The reason in a sentence."""
    imputed: tuple[str, ...] = ()
    """The request's unknown fields, replaced by the training mean; only for the scalars."""

    @property
    def words(self) -> str:
        """The state, and the reason if there is one."""
        return ": ".join(filter(None, (self.state, self.reason, self.detail)))

    @property
    def satisfies(self) -> bool:
        """Whether it is enough for a client that requires this modality."""
        return self.state in ("used", "truncated") and self.reason not in EMPTY_REASONS


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
        card = tower.model.card
        self._has_weight = "text" not in card.zero_weight_modalities
        self._min_letters = card.titles.min_letters_per_piece if self._has_weight else None

    async def encode(self, video: Video, watch: Stopwatch, *, urgent: bool = False) -> Encoded:
        """The vector of a video's text; `urgent` if the request does not also wait for a picture.

        Raises what the forward raised.
        """
        if self.tower.model.card.config.text is None:
            return Encoded(np.zeros(0, dtype=np.float32), ModalityReport("missing", "no_text_tower"))
        fields = self._tokenizer.spec.fields
        is_missing = not any(has_visible_text(getattr(video, name)) for name in fields)
        with watch.measure("tokenise"):
            tokens = await self._tokenise(Video(title="") if is_missing else video)
        ids, types = np.array(tokens.input_ids, "<i8"), np.array(tokens.token_type_ids, "<i8")
        key = self.tower.key(ids.tobytes(), types.tobytes())

        async def prepare() -> TokenIds:
            return tokens.input_ids, tokens.token_type_ids

        vector = await self.tower.encode(key, prepare, watch, urgent=urgent)
        report, warnings = ModalityReport("used"), []
        if is_missing:
            report = ModalityReport("missing", "no_visible_text")
        elif tokens.dropped_tokens:
            read = f"first {len(tokens)} of {len(tokens) + tokens.dropped_tokens} tokens"
            report = ModalityReport("truncated", read)
            warnings.append(f"The text is too long for the model; it read the {read}.")
        if not self._has_weight:
            warnings.append("This checkpoint gives the words of a title no weight.")
        if self._min_letters is not None and has_visible_text(video.title):
            letters = self._tokenizer.letters_per_piece(video.title)
            if warning := word_warning(letters, self._min_letters):
                report = ModalityReport(report.state, UNKNOWN_WORDS)
                warnings.append(warning)
        return Encoded(vector, report, tuple(warnings))

    async def _tokenise(self, video: Video) -> TokenizedText:
        encode = self._tokenizer.encode
        if len(video.title) + len(video.description) <= MAX_INLINE_CHARACTERS:
            return encode(video.title, video.description)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._workers, encode, video.title, video.description)


@dataclass(frozen=True, slots=True)
class PictureBudget:
    """When to give up on a picture, in the event loop's time, and the `party` that shares download turns."""

    give_up_at: float | None = None
    party: Hashable = None

    @asynccontextmanager
    async def limit(self) -> AsyncIterator[None]:
        """Raises `ImageError` if the context, waiting for turns included, does not end in time."""
        try:
            async with asyncio.timeout_at(self.give_up_at):
                yield
        except TimeoutError as exc:
            raise ImageError("the request's time for its picture was used up", "timeout") from exc


class ImageEncoder:
    """A thumbnail's URL to the image vector; a thumbnail that cannot be used becomes the neutral image."""

    def __init__(
        self,
        tower: Tower[Decoded],
        thumbnails: ThumbnailCache,
        decoders: DecodePool | None,
        max_bytes: int,
    ) -> None:
        """`decoders` is None if the model has no image tower; `max_bytes` limits a picture in the request."""
        self.tower = tower
        self._thumbnails, self._decoders, self._max_bytes = thumbnails, decoders, max_bytes
        self._warnings: tuple[str, ...] = ()
        if "image" in tower.model.card.zero_weight_modalities:
            self._warnings = ("This checkpoint gives images no weight: its training data has none.",)

    async def encode(self, url: str | None, watch: Stopwatch, budget: PictureBudget) -> Encoded:
        """The vector of a thumbnail, or of the neutral image. Raises what the forward raised."""
        if self._decoders is None:
            return self._neutral(ModalityReport("missing", "no_image_tower"))
        if url is None:
            return self._neutral(ModalityReport("missing", "no_thumbnail"))
        try:
            content, vector = await self._vector(url.strip(WHITE_SPACE), self._decoders, watch, budget)
        except ImageError as exc:
            cause = type(exc.__cause__).__name__ if exc.__cause__ else None
            log.info("thumbnail_failed", reason=exc.reason, detail=str(exc), cause=cause)
            text = (
                f"The thumbnail could not be used ({exc.reason}): {exc}. A neutral image was scored instead."
            )
            return self._neutral(ModalityReport("failed", exc.reason, str(exc)), text)
        except DecoderUnavailableError as exc:
            log.warning("decoder_unavailable", detail=str(exc))
            text = "No image decoder is available"
            report = ModalityReport("failed", "unavailable", text)
            return self._neutral(report, f"{text}. A neutral image was scored instead.")
        return self._used(content, vector)

    def _used(self, content: Content, vector: Vector) -> Encoded:
        spec = self.tower.model.image_spec
        assert spec is not None, "only an image tower has vectors"
        traits, width, height = map(int, vector[-FACTS:])
        warnings = picture_warnings(Trait(traits), spec.reading)
        empty = emptiness(Trait(traits), width, height) or (REPEATED if content.is_repeated else None)
        report = ModalityReport("used", *empty) if empty else ModalityReport("used")
        warnings += [empty[1]] if empty else []
        return Encoded(vector[:-FACTS], report, (*self._warnings, *content.notes, *warnings))

    async def _vector(
        self, url: str, decoders: DecodePool, watch: Stopwatch, budget: PictureBudget
    ) -> tuple[Content, Vector]:
        """What a URL holds, and its vector followed by the facts. Raises `ImageError`."""
        content = await self._read(url, self._thumbnails.identify, watch, budget)
        if content.body is None:  # a known picture
            vector = self.tower.cache.recall(self.tower.key(content.digest))
            if vector is not None:
                watch.cached.append("image")
                return content, vector
            # Its vector was evicted.
            content = await self._read(url, self._thumbnails.download, watch, budget)
        body = content.body
        assert body is not None, "what was downloaded has a body"

        async def prepare() -> Decoded:
            with watch.measure("decode"):
                async with budget.limit():
                    return await decoders.decode(body)

        return content, await self.tower.encode(self.tower.key(content.digest), prepare, watch)

    async def _read(
        self,
        url: str,
        ask: Callable[[str, Hashable], Awaitable[Content]],
        watch: Stopwatch,
        budget: PictureBudget,
    ) -> Content:
        with watch.measure("download"):
            if is_data_url(url):
                if len(url) <= MAX_INLINE_DATA:
                    return _content(url, self._max_bytes)
                return await asyncio.to_thread(_content, url, self._max_bytes)
            async with budget.limit():
                return await ask(url, budget.party)

    def _neutral(self, report: ModalityReport, *warnings: str) -> Encoded:
        return Encoded(self.tower.model.engine.neutral_image, report, warnings)


def _content(url: str, max_bytes: int) -> Content:
    body = decode_data_url(url, max_bytes)
    return Content(digest_of(body), body)
