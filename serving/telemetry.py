"""Logs and metrics. No user text, no full URL and no address ever goes into either."""

import logging
from collections.abc import Callable
from typing import Any, Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from serving.pipeline import Prediction

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
