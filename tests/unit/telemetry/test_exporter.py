"""What is sent for a batch of spans: all that the SDK's own encoder would send."""

from collections.abc import Sequence

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.spans import SpanSink
from tests.unit.telemetry.traced import OUTCOME, REQUEST, TRACEPARENT, URL, recorded_by, taken
from worker.telemetry.exporter import Exporter, encoded
from worker.telemetry.session import Session


def steps() -> tuple[ReadableSpan, ...]:
    """One of each kind, and of each way to end."""
    kept = InMemorySpanExporter()
    recorded = recorded_by(kept)
    first, _ = taken(recorded)
    second, _ = taken(recorded, REQUEST._replace(traceparent=None, tracestate=None))
    second.taken_as("reused", error="key_reused")
    for span in (
        first,
        second,
        recorded.settle([first, second], 3),
        recorded.publish(OUTCOME._replace(tracestate="a=b,c=d")),
    ):
        span.end()
    recorded.attempt("POST", URL, TRACEPARENT, "a=b", 2).end(503)
    recorded.attempt("GET", URL, TRACEPARENT, None, 0, restored=True).end(error="timeout")
    recorded.attempt("POST", URL, None, None, 0).end(200)
    return kept.get_finished_spans()


def test_a_batch_says_what_the_sdk_would_say_of_it() -> None:
    spans = steps()
    for batch in (spans, spans[::-1], spans[:1]):
        assert encoded(batch) == encode_spans(batch)


@pytest.mark.parametrize("value", [2.5, ("a", "b"), b"bytes"])
def test_a_sampler_may_add_whatever_the_sdk_can_send(value: object) -> None:
    spans = steps()
    assert spans[1]._attributes is not None
    spans[1]._attributes["sampled.by"] = value  # type: ignore[index]
    assert encoded(spans) == encode_spans(spans)


def test_what_cannot_be_sent_costs_its_attribute_alone() -> None:
    spans = steps()
    assert spans[1]._attributes is not None
    spans[1]._attributes["messaging.message.id"] = "\ud800"  # type: ignore[index]
    with SpanSink() as sink, Session("TRACES") as session:
        Exporter(endpoint=f"{sink.url}/v1/traces", session=session).export(spans)
    assert [span.name for span in sink.spans] == [span.name for span in spans]
    assert ["messaging.message.id" in span.attributes for span in sink.spans[:2]] == [True, False]


def test_where_the_sdk_keeps_its_client_elsewhere_the_sdk_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Sequence[ReadableSpan]] = []
    monkeypatch.setattr(OTLPSpanExporter, "export", lambda _, batch: sent.append(batch))
    spans = steps()
    with Session("TRACES") as session:
        exporter = Exporter(session=session)
        del exporter._client
        exporter.export(spans)
    assert sent == [spans]
