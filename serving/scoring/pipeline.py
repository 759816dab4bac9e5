"""One video through one loaded model: towers side by side, then the fusion.

    thumbnail -> download -> decode -> image tower \\
    title, description -> tokenise -> text tower    -> fusion -> Prediction
    counts and times -> scalars                    /
"""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from features import Video, compute_features
from model.outputs import PATTERNS, fitted, pattern_of
from preprocessing.decoding.pool import DecodePool
from preprocessing.image import ImageLimits
from serving.errors import ModalityRequiredError
from serving.resources import usable_cpus
from serving.scoring.admission import Pace
from serving.scoring.batching import BatchingQueue
from serving.scoring.cache import VectorCache
from serving.scoring.encoders import ImageEncoder, Modality, ModalityReport, PictureBudget, TextEncoder
from serving.scoring.explanation import Explainer, Explanation, Row
from serving.scoring.model import LoadedModel
from serving.scoring.thumbnails import ThumbnailCache
from serving.scoring.towers import Stopwatch, Vector, image_tower, text_tower
from serving.scoring.warnings import (
    DriftWindow,
    RangeCheck,
    ignored_warnings,
    imputed,
    video_warnings,
    weightless_fields,
)
from serving.settings import Settings

PREVIOUS_LOOK = {"previous_view_count", "previous_observed_at"}


@dataclass(frozen=True, slots=True)
class ScoringRequest:
    """A video to score, its thumbnail, and the modalities that must be available."""

    video: Video
    thumbnail_url: str | None = None
    require: frozenset[Modality] = frozenset()
    explain: bool = False
    warnings: tuple[str, ...] = ()
    """Warnings about how the request was read."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A score and what it is based on; `velocity` in views per day."""

    viral_score: float
    velocity: float
    interval: tuple[float, float] | None
    """The lower and the upper end around `velocity`; None if the checkpoint has none."""
    coverage: float | None
    """The share of videos whose velocity is within the interval."""
    modalities: dict[Modality, ModalityReport]
    warnings: tuple[str, ...]
    in_range: bool
    model_version: str
    watch: Stopwatch = field(default_factory=Stopwatch)
    explanation: Explanation | None = None
    """Set if the request asked to `explain`."""
    shadow: "asyncio.Future[Prediction | None] | None" = None
    """The score of the shadow, which may take a while; None if there is no shadow."""


class Pipeline:
    """Scores videos with one model; each step of the network has its own queue.

    As a context it counts a request that uses it.
    """

    def __init__(
        self,
        model: LoadedModel,
        settings: Settings,
        cache: VectorCache,
        thumbnails: ThumbnailCache,
        executors: Mapping[str, Executor | None],
        workers: Executor,
    ) -> None:
        """`executors` run each step's forwards, None on the event loop; `workers` tokenise long texts."""
        max_batch_size = settings.max_batch_size
        limits = ImageLimits(settings.thumbnail_max_bytes, settings.thumbnail_max_pixels)
        spec = model.image_spec
        self._decoders = DecodePool(spec, limits, usable_cpus()) if spec else None
        self.model = model
        self.drift = DriftWindow(model.scaler.feature_names_in_, model.distributions)
        self._range_check = RangeCheck(
            model.scaler, model.distributions, model.scripts, model.card.provenance
        )
        self._patterns = {name: fitted(name, model.card.patterns) for name in PATTERNS}
        self._weightless = weightless_fields(model.scaler, model.card.text_fields)
        image = image_tower(model, cache, executors["image"], max_batch_size)
        text = text_tower(model, cache, executors["text"], max_batch_size, image)
        self._text = TextEncoder(text, workers)
        self._image = ImageEncoder(image, thumbnails, self._decoders, settings.thumbnail_max_bytes)
        self._fusion = BatchingQueue[Row, tuple[float, float]](
            self._run_fusion, executors["fusion"], max_batch_size
        )
        self._pace = Pace()
        self._requests = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._explainer = Explainer(model, self._score_rows, self._empty_text)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """The pipeline with its queues served and its decoding processes running."""
        text, image, decoders = self._text.tower.queue, self._image.tower.queue, self._decoders
        async with text, image, decoders or nullcontext(), self._fusion:
            yield self

    async def warm_up(self) -> None:
        """Return when the decoding processes have started."""
        if self._decoders is not None:
            await self._decoders.ready()

    async def probe(self) -> None:
        """Run every step once, bypassing the cache. Raises what a forward raised."""
        text, image = await asyncio.gather(self._text.tower.probe(), self._image.tower.probe())
        scalars = np.zeros(len(self.model.scaler.feature_names_in_), dtype=np.float32)
        await self._fuse(Row(text, image[: len(self.model.engine.neutral_image)], scalars), Stopwatch())

    @property
    def queues(self) -> dict[str, BatchingQueue[Any, Any]]:
        """The queue of each step."""
        return {"text": self._text.tower.queue, "image": self._image.tower.queue, "fusion": self._fusion}

    def __enter__(self) -> Self:
        self._requests += 1
        self._is_idle.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._requests -= 1
        if not self._requests:
            self._is_idle.set()

    def hold_until_done(self, task: "asyncio.Task[Any]") -> None:
        """Count `task`, which may not have started yet, as a request."""
        self.__enter__()
        task.add_done_callback(self.__exit__)

    async def idle(self) -> None:
        """Return when no request uses this model."""
        await self._is_idle.wait()

    async def score(self, request: ScoringRequest, budget: PictureBudget | None = None) -> Prediction:
        """Raises `ModalityRequiredError`, and whatever a forward raised."""
        watch = Stopwatch()
        text, image = await asyncio.gather(
            self._text.encode(request.video, watch, urgent=request.thumbnail_url is None),
            self._image.encode(request.thumbnail_url, watch, budget or PictureBudget()),
        )
        await self._pace.turn()  # many videos may have waited for one picture, or given up together
        raw = compute_features([request.video], self.model.scaler.feature_names_in_)  # (1, F)
        reports: dict[Modality, ModalityReport] = {
            "text": text.report,
            "image": image.report,
            "scalars": self._report_scalars(request.video, raw[0]),
        }
        _check_required(request.require, reports)
        row = Row(text.vector, image.vector, self.model.scaler.transform(raw)[0])
        viral, velocity = await self._fuse(row, watch)
        explanation = None
        if request.explain:
            with watch.measure("explanation"):
                explanation = await self._explainer.explain(
                    row, (viral, velocity), reports["scalars"].imputed
                )
        video = request.video
        in_range, about_range = self._range_check.check(raw[0], self._text_of(video), video.observed_at)
        about_checkpoint = ignored_warnings(video, self._weightless, self.model.card.text_fields)
        watch.stop()
        self.drift.observe(raw[0], viral)
        about_video = video_warnings(video) + about_range + about_checkpoint
        warnings = (*request.warnings, *text.warnings, *image.warnings, *about_video)
        return Prediction(
            viral_score=viral,
            velocity=velocity,
            interval=self._interval(raw[0], velocity),
            coverage=self.model.card.interval_coverage,
            modalities=reports,
            warnings=warnings,
            in_range=in_range,
            model_version=self.model.version,
            watch=watch,
            explanation=explanation,
        )

    def _interval(self, raw: NDArray[np.float64], velocity: float) -> tuple[float, float] | None:
        """The conformal interval around a velocity, by what is known of the video."""
        pattern = self._patterns[pattern_of(raw, self.model.scaler.feature_names_in_)]
        return pattern.interval(velocity) if pattern else None

    def _text_of(self, video: Video) -> str:
        """The words that the text tower reads."""
        return video.title if len(self.model.card.text_fields) == 1 else f"{video.title} {video.description}"

    async def _fuse(self, row: Row, watch: Stopwatch) -> tuple[float, float]:
        ran = await self._fusion.submit(row)
        watch.add("queue", ran.waited_s)
        watch.add("fusion", ran.ran_s)
        _check_finite(*ran.result)
        return ran.result

    async def _score_rows(self, rows: Sequence[Row]) -> list[tuple[float, float]]:
        """The scores of a few rows of one explanation."""
        scores = [ran.result for ran in await asyncio.gather(*map(self._fusion.submit, rows))]
        for score in scores:
            _check_finite(*score)
        return scores

    async def _empty_text(self) -> Vector:
        """The text vector of a video without words."""
        return (await self._text.encode(Video(title=""), Stopwatch(), urgent=True)).vector

    def _report_scalars(self, video: Video, raw: NDArray[np.float64]) -> ModalityReport:
        names = tuple(imputed(video, raw, self.model.scaler.feature_names_in_))
        # Most videos have no previous look, so requiring the scalars does not require one.
        if PREVIOUS_LOOK.issuperset(names):
            return ModalityReport("used", imputed=names)
        return ModalityReport("imputed", ", ".join(names), imputed=names)

    def _run_fusion(self, rows: Sequence[Row]) -> list[tuple[float, float]]:
        text, image = np.stack([row.text for row in rows]), np.stack([row.image for row in rows])
        scores = self.model.engine.score(text, image, np.stack([row.scalars for row in rows]))
        return list(zip(scores.viral.tolist(), scores.velocity.tolist(), strict=True))


def _check_required(require: frozenset[Modality], reports: dict[Modality, ModalityReport]) -> None:
    lacking = [name for name, report in reports.items() if name in require and not report.satisfies]
    if lacking:
        states = ", ".join(f"{name} ({reports[name].words})" for name in lacking)
        raise ModalityRequiredError(f"Required modality unavailable: {states}.")


def _check_finite(viral: float, velocity: float) -> None:
    """Raises `FloatingPointError` for one video, so that the others of its batch keep their scores."""
    if not (math.isfinite(viral) and math.isfinite(velocity)):
        raise FloatingPointError("the model returned a non-finite score")
