"""Spans, as an exporter gets them."""

import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from tests.unit.telemetry.traced import NOT_SAMPLED, OUTCOME, REQUEST, TRACE, TRACEPARENT, URL, recorded_by, taken
from worker.domain.request import Identity, Invalid
from worker.telemetry import tracing


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def recorded(exporter: InMemorySpanExporter) -> tracing.Tracing:
    return recorded_by(exporter)


def the_one(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_a_process_span_is_a_child_of_the_request_and_links_to_it(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    span, request = taken(recorded)
    span.end()

    done = the_one(exporter)
    assert (done.name, done.kind, done.status.status_code) == ("process requests", SpanKind.CONSUMER, StatusCode.UNSET)
    assert done.parent is not None
    assert done.context is not None
    assert done.start_time is not None
    assert done.end_time is not None
    assert time.time_ns() - 60 * 10**9 < done.start_time <= done.end_time
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
    assert request == REQUEST._replace(traceparent=span.traceparent, tracestate="a=b")
    assert span.traceparent is not None
    assert span.traceparent.split("-")[1:3] == [TRACE, f"{done.context.span_id:016x}"]


def test_a_request_without_a_context_starts_a_trace(recorded: tracing.Tracing, exporter: InMemorySpanExporter) -> None:
    span, request = taken(recorded, REQUEST._replace(traceparent=None, tracestate=None))
    span.end()
    assert the_one(exporter).parent is None
    assert request.traceparent == span.traceparent is not None


def test_an_invalid_message_is_processed_too_and_its_outcome_belongs_to_that(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    who = Identity("17", "key", "print", "night", None, None, TRACEPARENT, "a=b")
    span, told = recorded.process(Invalid("operation: expected one of those", 5, 0, who), 3)
    span.taken_as("invalid", error="invalid_request")
    span.end()
    assert isinstance(told, Invalid)
    assert told.identity is not None
    assert (told.identity.traceparent, told.identity.tracestate) == (span.traceparent, "a=b")
    attributes = the_one(exporter).attributes or {}
    assert attributes["messaging.message.id"] == "17"
    assert attributes["terminal_operations.acceptance"] == "invalid"
    assert attributes["error.type"] == "invalid_request"
    assert the_one(exporter).status.status_code is StatusCode.ERROR


def test_a_message_of_which_nothing_is_known_is_a_trace_of_its_own(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    invalid = Invalid("value: expected a JSON object", 5, 0)
    span, told = recorded.process(invalid, 3)
    span.end()
    assert told is invalid
    assert the_one(exporter).parent is None


def test_a_duplicate_says_so_and_is_no_error(recorded: tracing.Tracing, exporter: InMemorySpanExporter) -> None:
    span, _ = taken(recorded)
    span.taken_as("duplicate")
    span.end()
    done = the_one(exporter)
    assert (done.attributes or {})["terminal_operations.acceptance"] == "duplicate"
    assert done.status.status_code is StatusCode.UNSET


def test_a_commit_is_one_span_that_links_to_what_it_settles(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    first, second, dropped = (
        taken(recorded, REQUEST._replace(traceparent=parent))[0] for parent in (TRACEPARENT, None, NOT_SAMPLED)
    )
    recorded.settle([dropped, first, second], 3).end(error="not_committed")
    done = the_one(exporter)
    assert (done.name, done.kind, done.status.status_code) == ("commit requests", SpanKind.CLIENT, StatusCode.ERROR)
    assert done.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "commit",
        "messaging.operation.type": "settle",
        "messaging.destination.name": "requests",
        "messaging.destination.partition.id": "3",
        "messaging.consumer.group.name": "group",
        "messaging.batch.message_count": 3,
        "error.type": "not_committed",
    }
    assert [spelled(link.context) for link in done.links] == [first.traceparent, second.traceparent]
    assert done.parent is not None
    assert spelled(done.parent) == first.traceparent


def test_the_links_of_a_commit_are_bounded_and_none_is_dropped_by_the_sdk(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    recorded.settle([taken(recorded)[0] for _ in range(300)], 3).end()
    assert len(the_one(exporter).links) == 100
    assert the_one(exporter).dropped_links == 0


def test_a_commit_of_nothing_that_is_recorded_has_no_span(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    dropped, _ = taken(recorded, REQUEST._replace(traceparent=NOT_SAMPLED))
    recorded.settle([dropped], 3).end()
    recorded.settle([], 3).end()
    assert exporter.get_finished_spans() == ()


def spelled(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


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
    assert not {"http.request.resend_count", "terminal_operations.restored"} & set(done.attributes)


def test_a_repeated_attempt_counts_and_shows_no_credentials(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    recorded.attempt("GET", "http://me:secret@localhost:8080/x?operation_id=1", None, None, 2).end(200)
    attributes = the_one(exporter).attributes
    assert attributes is not None
    assert attributes["url.full"] == "http://localhost:8080/x?operation_id=1"
    assert attributes["server.port"] == 8080
    assert attributes["http.request.resend_count"] == 2
    assert the_one(exporter).parent is None


def test_an_attempt_for_a_restored_request_says_so_and_that_its_parent_is_elsewhere(
    recorded: tracing.Tracing, exporter: InMemorySpanExporter
) -> None:
    recorded.attempt("GET", URL, TRACEPARENT, None, 0, restored=True).end(200)
    recorded.attempt("GET", URL, TRACEPARENT, None, 0).end(200)
    elsewhere, here = exporter.get_finished_spans()
    assert (elsewhere.attributes or {})["terminal_operations.restored"] is True
    assert [span.parent.is_remote for span in (elsewhere, here) if span.parent] == [True, False]


def test_a_publish_span_names_the_event(recorded: tracing.Tracing, exporter: InMemorySpanExporter) -> None:
    span = recorded.publish(OUTCOME._replace(tracestate="a=b"))
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
    assert (span.traceparent[3:35], span.tracestate) == (TRACE, "a=b")


def test_without_recording_contexts_pass_through_untouched() -> None:
    base = tracing.Tracing()
    span, request = base.process(REQUEST, 0)
    span.taken_as("duplicate")
    base.settle([span], 0).end()
    attempt = base.attempt("POST", URL, TRACEPARENT, "a=b", 0)
    publish = base.publish(OUTCOME)
    assert request is REQUEST
    assert (attempt.traceparent, publish.traceparent) == (TRACEPARENT,) * 2
    assert (attempt.tracestate, publish.tracestate) == ("a=b", None)


def test_without_a_context_and_without_recording_one_span_serves_all() -> None:
    base = tracing.Tracing()
    assert base.attempt("GET", URL, None, None, 0) is base.publish(OUTCOME._replace(traceparent=None))
