"""One video through one loaded model: towers side by side, then the fusion.

    thumbnail -> download -> decode -> image tower \\
    title, description -> tokenise -> text tower    -> fusion -> Prediction
    counts and times -> 18 scalars                 /

Everything that can go wrong with one video is decided before it enters a queue, so that it never touches
its neighbours.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from features import Video, compute_features
from model.engine import Scores
from preprocessing.image import ImageError, ImageLimits, decode_image
from preprocessing.text import TokenizedText
from preprocessing.thumbnails import ThumbnailError
from serving import notices
from serving.batching import BatchingQueue
from serving.errors import ModalityRequiredError
from serving.loading import LoadedModel

Modality = Literal["text", "image", "scalars"]
State = Literal["used", "missing", "failed", "truncated", "imputed"]
Vector = NDArray[np.float32]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """What a client asks: a video, perhaps its thumbnail, and what the score must rest on."""

    video: Video
    thumbnail_url: str | None = None
    require: frozenset[Modality] = frozenset()


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
class Prediction:
    """A score and what it rests on; `velocity` in views per day."""

    viral_score: float
    velocity: float
    modalities: dict[Modality, ModalityReport]
    warnings: tuple[str, ...]
    seconds: float = 0.0


class Fetcher(Protocol):
    """Gets the bytes behind a thumbnail's URL, or raises `ThumbnailError`."""

    async def fetch(self, url: str) -> bytes: ...


@dataclass(frozen=True, slots=True)
class _Encoded:
    """A tower's vector for one video, and what to say about it."""

    vector: Vector
    report: ModalityReport
    warnings: tuple[str, ...] = ()


class Pipeline:
    """Scores videos with one model. Its three queues share one executor: one forward in flight."""

    def __init__(
        self,
        model: LoadedModel,
        fetcher: Fetcher,
        limits: ImageLimits,
        forward: Executor,
        workers: Executor,
        max_batch_size: int,
    ) -> None:
        """`forward` runs the engine, in one thread; `workers` tokenise and decode."""
        self.model = model
        self._fetcher = fetcher
        self._limits = limits
        self._workers = workers
        self._texts = BatchingQueue[TokenizedText, Vector](
            self._run_text, forward, max_batch_size, length=len
        )
        self._images = BatchingQueue[NDArray[np.uint8], Vector](self._run_image, forward, max_batch_size)
        self._fusion = BatchingQueue[tuple[Vector, Vector, Vector], tuple[float, float]](
            self._run_fusion, forward, max_batch_size
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Pipeline"]:
        """The pipeline with its queues served."""
        async with AsyncExitStack() as stack:
            for queue in (self._texts, self._images, self._fusion):
                await stack.enter_async_context(queue)
            yield self

    async def score(self, request: ScoringRequest) -> Prediction:
        """Raises `ModalityRequiredError`, and whatever a forward raised."""
        started = time.perf_counter()
        text, image = await asyncio.gather(
            self._encode_text(request.video), self._encode_image(request.thumbnail_url)
        )
        raw = compute_features([request.video], self.model.scaler.feature_names_in_)  # (1, F)
        scalars = self._report_scalars(raw[0])
        reports: dict[Modality, ModalityReport] = {
            "text": text.report,
            "image": image.report,
            "scalars": scalars,
        }
        _check_required(request.require, reports)
        viral, velocity = await self._fusion.submit(
            (text.vector, image.vector, self.model.scaler.transform(raw)[0])
        )
        warnings = (*text.warnings, *image.warnings, *self._about_scalars(request.video, raw[0]))
        return Prediction(viral, velocity, reports, warnings, time.perf_counter() - started)

    async def _encode_text(self, video: Video) -> _Encoded:
        loop = asyncio.get_running_loop()
        tokens = await loop.run_in_executor(
            self._workers, self.model.tokenizer.encode, video.title, video.description
        )
        report, warnings = ModalityReport("used"), []
        if tokens.dropped_tokens:
            total = len(tokens) + tokens.dropped_tokens
            report = ModalityReport("truncated", f"first {len(tokens)} of {total} tokens")
            warnings.append(f"The text is too long for the model, which read the {report.reason}.")
        if video.description.strip() and "description" not in self.model.tokenizer.spec.fields:
            warnings.append(
                "This checkpoint was trained on titles alone; the description's words were not read."
            )
        return _Encoded(await self._texts.submit(tokens), report, tuple(warnings))

    async def _encode_image(self, url: str | None) -> _Encoded:
        if self.model.image_spec is None:
            return self._neutral(ModalityReport("missing", "no_image_tower"))
        if url is None:
            return self._neutral(ModalityReport("missing", "no_thumbnail"))
        try:
            encoded = await self._fetcher.fetch(url)
            pixels = await asyncio.get_running_loop().run_in_executor(
                self._workers, decode_image, encoded, self.model.image_spec, self._limits
            )
        except (ThumbnailError, ImageError) as exc:
            log.info("thumbnail_failed", reason=exc.reason, detail=str(exc))
            failed = self._neutral(ModalityReport("failed", exc.reason))
            sentence = f"The thumbnail could not be used ({exc.reason}); the score is for a neutral image."
            return replace(failed, warnings=(sentence,))
        warnings: tuple[str, ...] = ()
        if "image" in self.model.card.zero_weight_modalities:
            warnings = ("This checkpoint gives images no weight: the data it was trained on has none.",)
        return _Encoded(await self._images.submit(pixels), ModalityReport("used"), warnings)

    def _neutral(self, report: ModalityReport) -> _Encoded:
        return _Encoded(self.model.engine.neutral_image, report)

    def _report_scalars(self, raw: NDArray[np.float64]) -> ModalityReport:
        names = notices.imputed(raw, self.model.scaler.feature_names_in_)
        return ModalityReport("imputed", ", ".join(names)) if names else ModalityReport("used")

    def _about_scalars(self, video: Video, raw: NDArray[np.float64]) -> list[str]:
        return notices.about_time(video) + notices.out_of_range(raw, self.model.scaler)

    def _run_text(self, texts: Sequence[TokenizedText]) -> list[Vector]:
        ids, types = [text.input_ids for text in texts], [text.token_type_ids for text in texts]
        return list(self.model.engine.encode_text(ids, types))

    def _run_image(self, images: Sequence[NDArray[np.uint8]]) -> list[Vector]:
        return list(self.model.engine.encode_image(np.stack(images)))

    def _run_fusion(self, rows: Sequence[tuple[Vector, Vector, Vector]]) -> list[tuple[float, float]]:
        text, image, scalars = (np.stack(column) for column in zip(*rows, strict=True))
        scores = self.model.engine.score(text, image, scalars)
        _check_finite(scores)
        return list(zip(scores.viral.tolist(), scores.velocity.tolist(), strict=True))


def _check_required(require: frozenset[Modality], reports: dict[Modality, ModalityReport]) -> None:
    lacking = [name for name, report in reports.items() if name in require and not report.satisfies]
    if lacking:
        states = ", ".join(f"{name} is {reports[name].state} ({reports[name].reason})" for name in lacking)
        raise ModalityRequiredError(f"The request requires {', '.join(lacking)}: {states}.")


def _check_finite(scores: Scores) -> None:
    """NaN never leaves as a score."""
    if not (np.isfinite(scores.viral).all() and np.isfinite(scores.velocity).all()):
        raise FloatingPointError("the network gave a score that is no number")
