"""Prometheus metrics, counted as requests are answered or read from the predictor at each scrape."""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from serving.lifecycle.predictor import HEALTHY, Predictor
from serving.lifecycle.shadow import Shadow
from serving.observability.logs import LINES
from serving.observability.tracing import Tracing
from serving.scoring.cache import VectorCache
from serving.scoring.encoders import Modality, ModalityReport
from serving.scoring.model import LoadedModel
from serving.scoring.pipeline import Pipeline, Prediction
from serving.scoring.shared_cache import SharedCache

STAGE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SCORE_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
LOG10_BUCKETS = (0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0)
LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 16, 32, 64, 128, 256)
MAX_LABEL_LENGTH = 64  # a checkpoint's origin is free text
HTTP_REASONS = {f"http_{status}" for status in HTTPStatus}
PACKAGES = ("openvino", "fastapi", "numpy")


class Metrics:
    """The metrics of one app; two apps in one process have separate registries."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._next: asyncio.Future[bytes] | None = None
        self.tracing = Tracing.from_environment()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter(
            "miles_requests", "Responses by route, method and status.", ["route", "method", "status"]
        )
        self.latency = self._histogram(
            "miles_request_seconds", "Time to the first byte of the response.", LATENCY_BUCKETS, ["route"]
        )
        self.stages = self._histogram(
            "miles_stage_seconds",
            "Time of a scored video per stage; stages overlap.",
            STAGE_BUCKETS,
            ["stage"],
        )
        self.cache_lookups = self._counter(
            "miles_cache_lookups",
            "Cache lookups of scored videos by tower and outcome.",
            ["tower", "outcome"],
        )
        self.modalities = self._counter(
            "miles_modalities", "Scored videos by modality and its state.", ["modality", "state"]
        )
        self.thumbnails = self._counter(
            "miles_thumbnails", "Scored videos by outcome of their thumbnail.", ["outcome"]
        )
        self.scores = self._histogram("miles_viral_score", "Viral scores.", SCORE_BUCKETS)
        self.velocities = self._histogram(
            "miles_velocity_log10", "log10 of the predicted views per day, 0 for 1 and below.", LOG10_BUCKETS
        )

    def _counter(self, name: str, description: str, labels: Sequence[str]) -> Counter:
        return Counter(name, description, labels, registry=self.registry)

    def _histogram(
        self, name: str, description: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(name, description, labels, buckets=buckets, registry=self.registry)

    def count_prediction(self, prediction: Prediction) -> None:
        """Count a scored video, and trace it if tracing is on."""
        for modality, report in prediction.modalities.items():
            self.modalities.labels(modality, report.state).inc()
        towers: tuple[Modality, ...] = ("text", "image")
        for tower in towers:
            if prediction.modalities[tower].satisfies:
                outcome = "hit" if tower in prediction.watch.cached else "miss"
                self.cache_lookups.labels(tower, outcome).inc()
        for stage, seconds in prediction.watch.seconds.items():
            if seconds:  # stages that this request skipped would distort the histogram
                self.stages.labels(stage).observe(seconds)
        self.thumbnails.labels(_outcome(prediction.modalities["image"])).inc()
        self.scores.observe(prediction.viral_score)
        self.velocities.observe(math.log10(max(prediction.velocity, 1.0)))
        if self.tracing:
            self.tracing.record(prediction.watch)

    def watch(self, predictor: Predictor) -> None:
        """Expose the state of `predictor` and its cache."""
        self.registry.register(PredictorCollector(predictor))
        self.watch_cache(predictor.cache)

    def watch_cache(self, cache: VectorCache) -> None:
        """Expose the size of `cache`."""
        for name, description, read in (
            ("miles_cache_bytes", "Memory used by cached tower outputs.", lambda: cache.bytes),
            ("miles_cache_entries", "Cached tower outputs.", lambda: cache.entries),
            ("miles_cache_evictions", "Tower outputs evicted from the cache.", lambda: cache.evictions),
            (
                "miles_cache_collapsed",
                "Lookups that waited for identical work in flight.",
                lambda: cache.collapsed,
            ),
        ):
            Gauge(name, description, registry=self.registry).set_function(read)

    async def exposition(self) -> bytes:
        """The metrics in Prometheus's text format; concurrent scrapes share one exposition (milliseconds)."""
        if self._next is None:
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            loop.call_soon(self._expose, self._next)
        return await asyncio.shield(self._next)

    def _expose(self, answer: "asyncio.Future[bytes]") -> None:
        self._next = None
        try:
            answer.set_result(generate_latest(self.registry))
        except Exception as exc:
            answer.set_exception(exc)


def _outcome(image: ModalityReport) -> str:
    """`used`, `missing`, or the reason why the thumbnail failed or shows nothing of the video."""
    if image.state not in ("failed", "used"):
        return image.state
    reason = image.reason or image.state
    # A host may send any status code.
    return "http_other" if reason.startswith("http_") and reason not in HTTP_REASONS else reason


class PredictorCollector(Collector):
    """Reads a predictor's state when the metrics are scraped, so that requests pay nothing."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._build = {"python": python_version(), **{name: _version(name) for name in PACKAGES}}

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are checked at exposition, and most metrics need a loaded model."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The current values; those of the model once it is loaded."""
        ready = self._predictor.status == HEALTHY
        yield GaugeMetricFamily("miles_ready", "1 if requests can be scored.", float(ready))
        yield InfoMetricFamily("miles_build", "Versions of Python and the main packages.", self._build)
        yield CounterMetricFamily("miles_log_dropped", "Log lines that could not be written.", LINES.dropped)
        if self._predictor.shared_cache is not None:
            yield from _shared_cache(self._predictor.shared_cache)
        if self._predictor.shadow is not None:
            yield from _shadow(self._predictor.shadow)
        pipeline = self._predictor.pipeline
        if pipeline is not None:
            yield _model_info(pipeline.model)
            yield from _queues(pipeline)
            yield from _drift(pipeline)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _model_info(model: LoadedModel) -> Metric:
    labels = {
        "version": model.version,
        "sha256": model.card.sha256[:16],
        "engine": model.engine.name,
        "precision": model.engine.precision,
        "weights": str(model.card.provenance.get("source", "owner"))[:MAX_LABEL_LENGTH],
    }
    return InfoMetricFamily("miles_model", "The model in service.", labels)


def _queues(pipeline: Pipeline) -> Iterable[Metric]:
    depth = GaugeMetricFamily("miles_queue_depth", "Videos waiting for a step.", labels=["step"])
    sizes = HistogramMetricFamily("miles_batch_size", "Videos per forward pass of a step.", labels=["step"])
    for step, queue in pipeline.queues.items():
        depth.add_metric([step], queue.depth)
        sizes.add_metric([step], _buckets(queue.batches), sum(size * n for size, n in queue.batches.items()))
    return depth, sizes


def _buckets(batches: Mapping[int, int]) -> list[tuple[str, float]]:
    """Cumulative counts of the batches up to each size."""
    below = [
        (f"{bound:.1f}", sum(n for size, n in batches.items() if size <= bound)) for bound in BATCH_BUCKETS
    ]
    return [*below, ("+Inf", sum(batches.values()))]


def _shared_cache(cache: SharedCache) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "miles_shared_cache_up",
        "1 if the shared cache is in use, 0 while it is bypassed.",
        float(cache.is_up),
    )
    for name, description, counts in (
        ("miles_shared_cache_lookups", "Lookups in the shared cache by outcome.", cache.lookups),
        ("miles_shared_cache_writes", "Writes to the shared cache by outcome.", cache.writes),
    ):
        family = CounterMetricFamily(name, description, labels=["outcome"])
        for outcome, count in counts.items():
            family.add_metric([outcome], count)
        yield family


def _shadow(shadow: Shadow) -> Iterable[Metric]:
    version = GaugeMetricFamily("miles_shadow_ready", "1 while a shadow scores.", labels=["version"])
    version.add_metric([shadow.version or ""], float(shadow.version is not None))
    family = CounterMetricFamily("miles_shadow", "Served videos by shadow outcome.", labels=["outcome"])
    for outcome, count in shadow.outcomes.items():
        family.add_metric([outcome], count)
    busy = CounterMetricFamily("miles_shadow_busy", "Shadow scores while other videos were being scored.")
    busy.add_metric([], shadow.scored_busy)
    return version, family, busy


def _drift(pipeline: Pipeline) -> Iterable[Metric]:
    rows = GaugeMetricFamily("miles_drift_rows", "Scored videos in the drift window.")
    rows.add_metric([], pipeline.drift.rows)
    psi = GaugeMetricFamily(
        "miles_drift_psi",
        "Population stability index of recent videos against the training data.",
        labels=["feature"],
    )
    for feature, index in pipeline.drift.stability().items():
        psi.add_metric([feature], index)
    return rows, psi
