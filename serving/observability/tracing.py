"""OpenTelemetry spans of requests and their stages, exported over OTLP.

On if OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) is set and requirements/otel.txt is
installed. FastAPI's own spans are off because they contain the path and query as the client sent them.
"""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import structlog
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.scoring.towers import Stage, Stopwatch

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
# Left on, telemetry reads the environment three times per request to see whether a tracer is installed, and
# the API reference loads its scripts from a CDN; `serving.http.page` serves it.
FASTAPI_OFF: dict[str, Any] = {
    "telemetry": TelemetryConfig(tracing=False, metrics=False, logs=False, auto_configure=False),
    "openapi_url": None,  # these have routes of our own
    "docs_url": None,
    "redoc_url": None,
}
METHODS = ("GET", "HEAD", "POST", "OPTIONS")
QUIET = ("/health/live", "/health/ready", "/metrics")  # probes would be most of the spans
# Waiting shows as the gap before a stage, and the total as the enclosing span.
NO_SPAN: frozenset[Stage] = frozenset({"queue", "total"})
SHUTDOWN_MS = 3000
log = structlog.get_logger()


class Tracing:
    """Writes the spans of one app."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("miles")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """Tracing to the collector that `environment` names, or None."""
        disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        if disabled or not any(environment.get(name) for name in ENDPOINTS):
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            # A cluster may set the variables for all its services; serve without tracing.
            log.warning("tracing_not_installed", remedy="pip install -r requirements/otel.txt")
            return None
        name = environment.get("OTEL_SERVICE_NAME", "miles")
        provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def record(self, watch: Stopwatch) -> None:
        """Add the span of one scored video, with its stages as children, to the request's span."""
        # Spans need wall-clock times; the stopwatch has perf_counter times.
        offset_s = time.time() - time.perf_counter()

        def nanoseconds(seconds: float) -> int:
            return int((seconds + offset_s) * 1e9)

        attributes: dict[str, AttributeValue] = {
            "miles.cached": list(watch.cached),
            "miles.queue_seconds": watch.seconds["queue"],
        }
        started = nanoseconds(watch.started)
        with self._tracer.start_as_current_span(
            "score", start_time=started, attributes=attributes, end_on_exit=False
        ) as score:
            for stage, ended, seconds in watch.steps:
                if stage not in NO_SPAN:
                    span = self._tracer.start_span(stage, start_time=nanoseconds(ended - seconds))
                    span.end(nanoseconds(ended))
        score.end(nanoseconds(watch.started + watch.seconds["total"]))

    def close(self) -> None:
        """Export the remaining spans."""
        self._provider.force_flush(SHUTDOWN_MS)
        self._provider.shutdown()

    async def run(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one request in a span that names the route and contains nothing else from the client."""
        parent = TraceContextTextMapPropagator().extract(Headers(scope=scope))
        method = scope["method"] if scope["method"] in METHODS else "other"
        with self._tracer.start_as_current_span(
            method, parent, SpanKind.SERVER, record_exception=False
        ) as span:

            async def send_and_record(message: Message) -> None:
                if message["type"] == "http.response.start":
                    route = str(getattr(scope.get("route"), "path", "unknown"))
                    span.update_name(f"{method} {route}")
                    span.set_attributes(
                        {
                            "http.request.method": method,
                            "http.route": route,
                            "http.response.status_code": int(message["status"]),
                            "miles.request_id": str(scope.get("request_id", "")),
                        }
                    )
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            trace_id = format(span.get_span_context().trace_id, "032x")
            with structlog.contextvars.bound_contextvars(trace_id=trace_id):
                await app(scope, receive, send_and_record)


class TraceRequests:
    """Middleware that traces every request except probes, and exports the remaining spans at shutdown."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in QUIET:
            await self._tracing.run(self._app, scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "lifespan":
                self._tracing.close()


def install_tracing(app: FastAPI, tracing: Tracing | None) -> None:
    """Trace the requests of `app`, if `tracing` is on."""
    if tracing is not None:
        app.add_middleware(TraceRequests, tracing=tracing)
