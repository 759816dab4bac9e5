"""Logs and metrics. No user text, no full URL and no address ever goes into either."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from serving.lifecycle.predictor import Predictor
from serving.observability.readings import Readings
from serving.observability.tracing import Tracing
from serving.scoring.cache import VectorCache
from serving.scoring.pipeline import Prediction
from serving.scoring.towers import Modality, ModalityReport

STAGE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
SCORE_BUCKETS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
LOG10_BUCKETS = (0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0)
LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Telemetry:
    """The metrics of one app; two apps in one process count apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tracing = Tracing.from_environment()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter(
            "miles_requests", "Answers by route, method and status.", ["route", "method", "status"]
        )
        self.latency = self._histogram(
            "miles_request_seconds", "From request to the answer's first byte.", LATENCY_BUCKETS, ["route"]
        )
        self.stages = self._histogram(
            "miles_stage_seconds", "Time of one request by stage; stages overlap.", STAGE_BUCKETS, ["stage"]
        )
        self.cache_lookups = self._counter(
            "miles_cache_lookups",
            "Scored videos by tower, and whether its output was known.",
            ["tower", "outcome"],
        )
        self.modalities = self._counter(
            "miles_modalities", "Scored videos by modality and its state.", ["modality", "state"]
        )
        self.thumbnails = self._counter(
            "miles_thumbnails", "Scored videos by what became of their thumbnail.", ["outcome"]
        )
        self.scores = self._histogram("miles_viral_score", "Scores given.", SCORE_BUCKETS)
        self.velocities = self._histogram(
            "miles_velocity_log10",
            "log10 of the views per day predicted, 0 for one and fewer.",
            LOG10_BUCKETS,
        )

    def _counter(self, name: str, description: str, labels: Sequence[str]) -> Counter:
        return Counter(name, description, labels, registry=self.registry)

    def _histogram(
        self, name: str, description: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(name, description, labels, buckets=buckets, registry=self.registry)

    def count_prediction(self, prediction: Prediction) -> None:
        """Count a score, what it rested on and what it took; trace it where traces are asked for."""
        for modality, report in prediction.modalities.items():
            self.modalities.labels(modality, report.state).inc()
        towers: tuple[Modality, ...] = ("text", "image")
        for tower in towers:
            if prediction.modalities[tower].satisfies:
                outcome = "hit" if tower in prediction.watch.cached else "miss"
                self.cache_lookups.labels(tower, outcome).inc()
        for stage, seconds in prediction.watch.seconds.items():
            if seconds:  # a stage that this request did not need says nothing about those that did
                self.stages.labels(stage).observe(seconds)
        self.thumbnails.labels(_outcome(prediction.modalities["image"])).inc()
        self.scores.observe(prediction.viral_score)
        self.velocities.observe(math.log10(max(prediction.velocity, 1.0)))
        if self.tracing:
            self.tracing.record(prediction.watch)

    def watch(self, predictor: Predictor) -> None:
        """Tell what `predictor` is and does whenever the metrics are read."""
        self.registry.register(Readings(predictor))
        self.watch_cache(predictor.cache)

    def watch_cache(self, cache: VectorCache) -> None:
        """Tell the size of `cache` whenever the metrics are read."""
        for name, description, read in (
            ("miles_cache_bytes", "Memory held by tower outputs.", lambda: cache.bytes),
            ("miles_cache_entries", "Tower outputs held.", lambda: cache.entries),
            ("miles_cache_evictions", "Tower outputs given up for newer ones.", lambda: cache.evictions),
            ("miles_cache_collapsed", "Waits for identical work in flight.", lambda: cache.collapsed),
        ):
            Gauge(name, description, registry=self.registry).set_function(read)

    def exposition(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self.registry)


def _outcome(image: ModalityReport) -> str:
    """`used`, `missing`, or why the thumbnail failed: one of the few reasons that its errors name."""
    return image.reason or "failed" if image.state == "failed" else image.state


def configure_logging(log_format: Literal["json", "console"], level: str) -> None:
    """Route structlog and the standard library's loggers through one renderer, to standard error."""
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer() if log_format == "json" else structlog.dev.ConsoleRenderer()
    )
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if log_format == "json":
        last.append(structlog.processors.dict_tracebacks)
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*last, renderer])
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
