"""Logs and metrics. No user text, no full URL and no address ever goes into either."""

import logging
from collections.abc import Callable
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.cache import VectorCache
from serving.pipeline import Modality, Prediction

STAGE_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Telemetry:
    """The metrics of one app; two apps in one process count apart."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "miles_requests",
            "Answers by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.latency = Histogram(
            "miles_request_seconds",
            "From request to the answer's first byte.",
            ["route"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "miles_stage_seconds",
            "Time of one request by stage; stages overlap.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self.cache_lookups = Counter(
            "miles_cache_lookups",
            "Scored videos by tower, and whether its output was known.",
            ["tower", "outcome"],
            registry=self.registry,
        )
        self.modalities = Counter(
            "miles_modalities",
            "Scored videos by modality and its state.",
            ["modality", "state"],
            registry=self.registry,
        )

    def count_prediction(self, prediction: Prediction) -> None:
        """Count what a scored video rested on."""
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


def configure_logging(log_format: Literal["json", "console"], level: int = logging.INFO) -> None:
    """Route structlog and the standard library's loggers through one renderer, to standard output."""
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
    root.handlers, root.level = [handler], level
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
