"""Spans, as an exporter gets them."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode

from worker.domain.outcome import Outcome, OutcomeType
from worker.domain.request import Request
from worker.telemetry import export, tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"
REQUEST = Request(
    "17", "key", "print", "P1-T1", "end_of_day", None, None, "night", 0, 5, traceparent=TRACEPARENT, tracestate="a=b"
)
OUTCOME = Outcome(OutcomeType.FAILED, "key", "17", "night", "P1-T1", "end_of_day", 0, 0, traceparent=TRACEPARENT)
NAMES = {"requests_topic": "requests", "outcomes_topic": "outcomes", "group_id": "group", "event_source": "/worker"}
URL = "https://checkout.dintero.com/v1/admin/terminals/operations"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def recorded(exporter: InMemorySpanExporter) -> Iterator[tracing.Tracing]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield tracing.RecordedTracing(provider, **NAMES)
    provider.shutdown()


def the_one(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_a_process_span_is_a_child_of_the_request_and_links_to_it(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    span, request = recorded.process(REQUEST, 3)
    span.end()

    done = the_one(exporter)
    assert (done.name, done.kind, done.status.status_code) == ("process requests", SpanKind.CONSUMER, StatusCode.UNSET)
    assert done.parent is not None
    assert done.context is not None
    assert f"{done.context.trace_id:032x}" == TRACE
    assert f"{done.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert [link.context.span_id for link in done.links] == [done.parent.span_id]
    assert done.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "requests",
        "messaging.destination.partition.id": "3",
        "messaging.consumer.group.name": "group",
        "messaging.kafka.offset": 5,
        "messaging.message.id": "17",
        "messaging.message.conversation_id": "night",
    }
    assert request == REQUEST._replace(traceparent=span.traceparent)
    assert span.traceparent is not None
    assert span.traceparent.split("-")[1:3] == [TRACE, f"{done.context.span_id:016x}"]


def test_a_request_without_a_context_starts_a_trace(recorded: tracing.Tracing, exporter: InMemorySpanExporter) -> None:
    span, request = recorded.process(REQUEST._replace(traceparent=None, tracestate=None), 0)
    span.end()
    assert the_one(exporter).parent is None
    assert request.traceparent == span.traceparent is not None


@pytest.mark.parametrize(
    ("status", "error", "expected", "label"),
    [
        (200, None, StatusCode.UNSET, None),
        (404, None, StatusCode.ERROR, "404"),
        (503, None, StatusCode.ERROR, "503"),
        (None, "timeout", StatusCode.ERROR, "timeout"),
    ],
)
def test_an_attempt_ends_as_the_http_conventions_say(
    recorded: tracing.Tracing,
    exporter: InMemorySpanExporter,
    status: int | None,
    error: str | None,
    expected: StatusCode,
    label: str | None,
) -> None:
    recorded.attempt("POST", URL, TRACEPARENT, "a=b", 0).end(status, error)
    done = the_one(exporter)
    assert done.attributes is not None
    assert (done.name, done.kind, done.status.status_code) == ("POST", SpanKind.CLIENT, expected)
    assert done.attributes.get("error.type") == label
    assert done.attributes.get("http.response.status_code") == status
    assert done.attributes["server.address"] == "checkout.dintero.com"
    assert done.attributes["server.port"] == 443
    assert done.attributes["url.full"] == URL
    assert "http.request.resend_count" not in done.attributes


def test_a_repeated_attempt_counts_and_shows_no_credentials(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    recorded.attempt("GET", "http://me:secret@localhost:8080/x?operation_id=1", None, None, 2).end(200)
    attributes = the_one(exporter).attributes
    assert attributes is not None
    assert attributes["url.full"] == "http://localhost:8080/x?operation_id=1"
    assert attributes["server.port"] == 8080
    assert attributes["http.request.resend_count"] == 2


def test_a_publish_span_names_the_event(recorded: tracing.Tracing, exporter: InMemorySpanExporter) -> None:
    span = recorded.publish(OUTCOME)
    span.end(error="ProducerFenced")
    done = the_one(exporter)
    assert done.attributes is not None
    assert (done.name, done.kind, done.status.status_code) == ("send outcomes", SpanKind.PRODUCER, StatusCode.ERROR)
    assert done.attributes["messaging.operation.type"] == "send"
    assert done.attributes["messaging.kafka.message.key"] == "P1-T1"
    assert done.attributes["cloudevents.event_type"] == "terminal.operation.failed.v1"
    assert done.attributes["cloudevents.event_source"] == "/worker"
    assert done.attributes["error.type"] == "ProducerFenced"
    assert span.traceparent is not None
    assert TRACE in span.traceparent


def test_a_trace_that_is_not_sampled_stays_so_to_the_end(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    span, request = recorded.process(REQUEST._replace(traceparent=NOT_SAMPLED), 0)
    attempt = recorded.attempt("POST", URL, request.traceparent, request.tracestate, 0)
    publish = recorded.publish(OUTCOME._replace(traceparent=request.traceparent))
    for each in (span, attempt, publish):
        assert each.traceparent is not None
        assert TRACE in each.traceparent
        assert each.traceparent.endswith("-00")
        each.end(error="x")
    assert (span.tracestate, attempt.tracestate) == ("a=b", "a=b")
    assert exporter.get_finished_spans() == ()


def test_what_the_sampler_drops_at_the_root_is_dropped_in_every_step(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0)), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    recorded = tracing.RecordedTracing(provider, **NAMES)
    span, request = recorded.process(REQUEST._replace(traceparent=None, tracestate=None), 0)
    span.end()
    recorded.attempt("POST", URL, request.traceparent, request.tracestate, 0).end(200)
    assert request.traceparent is not None
    assert exporter.get_finished_spans() == ()


def test_without_recording_contexts_pass_through_untouched() -> None:
    base = tracing.Tracing()
    span, request = base.process(REQUEST, 0)
    attempt = base.attempt("POST", URL, TRACEPARENT, "a=b", 0)
    publish = base.publish(OUTCOME)
    assert request is REQUEST
    assert (span.traceparent, attempt.traceparent, publish.traceparent) == (TRACEPARENT,) * 3
    assert (span.tracestate, attempt.tracestate, publish.tracestate) == ("a=b", "a=b", None)


def test_without_a_context_and_without_recording_one_span_serves_all() -> None:
    base = tracing.Tracing()
    assert base.attempt("GET", URL, None, None, 0) is base.publish(OUTCOME._replace(traceparent=None))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    # Nothing listens on port 9, and a refused connection is quick.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    return monkeypatch


async def test_spans_are_recorded_where_an_endpoint_asks_for_them_and_a_dead_one_is_left_in_time(
    environment: pytest.MonkeyPatch,
) -> None:
    built = tracing.build_tracing(export.resource("1"), **NAMES)
    assert isinstance(built, tracing.RecordedTracing)
    built.attempt("GET", URL, None, None, 0).end(200)
    started = time.monotonic()
    await built.stop(0.2)
    assert time.monotonic() - started < 2


async def test_spans_reach_a_collector_by_http(environment: pytest.MonkeyPatch) -> None:
    received: Queue[tuple[str, ExportTraceServiceRequest]] = Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.put((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        Thread(target=collector.serve_forever, daemon=True).start()
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        built = tracing.build_tracing(export.resource("1"), **NAMES)
        built.publish(OUTCOME).end()
        await built.stop(5)
        path, request = received.get(timeout=5)
        collector.shutdown()
    (resource_spans,) = request.resource_spans
    assert path == "/v1/traces"
    assert [span.name for scope in resource_spans.scope_spans for span in scope.spans] == ["send outcomes"]
    named = {attribute.key: attribute.value.string_value for attribute in resource_spans.resource.attributes}
    assert named["service.version"] == "1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ],
)
def test_spans_are_not_recorded_where_nobody_wants_them(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    assert type(tracing.build_tracing(export.resource("1"), **NAMES)) is tracing.Tracing


def test_the_resource_has_our_name_unless_the_environment_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    attributes = export.resource("1.2").attributes
    assert (attributes["service.name"], attributes["service.version"]) == ("terminal-operations-worker", "1.2")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "night-shift")
    assert export.resource("1.2").attributes["service.name"] == "night-shift"
