"""Spans of a real service, sent to a real OTLP receiver in this process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from serving.observability.tracing import FASTAPI_OFF, Tracing
from tests.support.service import ready_service
from tests.support.thumbnail_host import ThumbnailHost

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PRIVATE = "nobody-may-store-this"


@dataclass
class Receiver:
    """What a collector has received."""

    url: str
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def named(self, name: str) -> Span:
        """The one span with this name in the caller's trace."""
        ours = [span for span in self.spans if span.trace_id.hex() == TRACE_ID]
        (span,) = [span for span in ours if span.name == name]
        return span


@contextmanager
def otlp_receiver() -> Iterator[Receiver]:
    """A collector on a port of its own; OTLP over HTTP is one POST of a protobuf message."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            message = ExportTraceServiceRequest.FromString(body)
            receiver.bodies.append(body)
            for sent in message.resource_spans:
                attributes = {pair.key: pair.value.string_value for pair in sent.resource.attributes}
                receiver.resources.append(attributes)
                receiver.spans += [span for scope in sent.scope_spans for span in scope.spans]
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")

        def log_message(self, *_: object) -> None:
            """Say nothing; the test's output is for the test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def received(
    tiny_path: Path, host: ThumbnailHost, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Receiver]:
    """What a service sent after a score within a caller's trace, a refusal, an unknown path and a probe."""
    log = tmp_path_factory.mktemp("log") / "service.log"
    settings = {"checkpoint": tiny_path, "precision": "f32", "thumbnail_trusted_networks": "127.0.0.0/8"}
    with otlp_receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        with ready_service(log, **settings) as service, httpx.Client(base_url=service.url) as client:
            video = {"title": f"Traced {PRIVATE}", "thumbnail_url": f"{host.thumbnail(601)}?{PRIVATE}"}
            parent = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}
            client.post("/predict", json=video, headers=parent)
            client.post(f"/predict?{PRIVATE}=1", json={})
            client.get(f"/{PRIVATE}")
            client.put("/predict", json={})
            client.get("/health/ready")
            service.stop()
        assert TRACE_ID in log.read_text()
        yield receiver


def test_each_stage_is_a_span_within_the_request(received: Receiver) -> None:
    """The spans of all stages are children of the score's, which is a child of the request's."""
    request, score = received.named("POST /predict"), received.named("score")
    assert score.parent_span_id == request.span_id
    for stage in ("download", "decode", "tokenise", "text", "image", "fusion"):
        span = received.named(stage)
        assert span.parent_span_id == score.span_id
        assert score.start_time_unix_nano <= span.start_time_unix_nano < span.end_time_unix_nano
        assert span.end_time_unix_nano <= score.end_time_unix_nano <= request.end_time_unix_nano
    assert received.named("decode").end_time_unix_nano <= received.named("image").start_time_unix_nano


def test_a_request_joins_its_callers_trace(received: Receiver) -> None:
    """A W3C traceparent is the parent; the log line carries the same trace id."""
    request = received.named("POST /predict")
    assert request.trace_id.hex() == TRACE_ID
    assert request.parent_span_id.hex() == "b7ad6b7169203331"


def test_refused_and_unknown_requests_are_spans_without_their_text(received: Receiver) -> None:
    """A span has method, route and status; no title, URL, path or query that a client wrote is sent."""
    statuses = {
        span.name: attribute.value.int_value
        for span in received.spans
        for attribute in span.attributes
        if attribute.key == "http.response.status_code" and span.trace_id.hex() != TRACE_ID
    }
    assert statuses == {"POST /predict": 422, "GET unknown": 404, "other /predict": 405}
    assert received.bodies
    assert not any(PRIVATE.encode() in body for body in received.bodies)


def test_probes_are_not_traced(received: Receiver) -> None:
    assert not any("health" in span.name for span in received.spans)


def test_the_service_names_itself(received: Receiver) -> None:
    """Without OTEL_SERVICE_NAME the collector shows `miles`."""
    assert {resource["service.name"] for resource in received.resources} == {"miles"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_traced_unless_configured(environment: dict[str, str]) -> None:
    """Without an endpoint, or with the SDK disabled, there is no tracing."""
    assert Tracing.from_environment(environment) is None


def test_fastapi_does_not_look_for_a_tracer_at_every_request() -> None:
    """FastAPI's own telemetry is off, so that a request reads no environment variable for it."""
    from app import create_app
    from serving.settings import Settings

    app = create_app(Settings())
    assert app._native_telemetry.config.items() >= FASTAPI_OFF["telemetry"].items()
    assert app._native_telemetry.enabled() is False
