"""Whether a request is recorded: the sampler's decision, taken once and kept to the end."""

from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import TraceFlags

from tests.unit.telemetry.traced import OUTCOME, REQUEST, TRACEPARENT, URL, recorded_by, taken


class Asked(Sampler):
    """Keeps what it was asked about, and leaves the answer to another."""

    def __init__(self, other: Sampler) -> None:
        self.other = other
        self.names: list[str] = []
        self.given: list[dict[str, Any]] = []

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **given: Any) -> SamplingResult:
        self.names.append(name)
        self.given.append(dict(args[1] or {}))
        return self.other.should_sample(parent_context, trace_id, name, *args, **given)

    def get_description(self) -> str:
        return "asked"


@pytest.mark.parametrize("flags", ["00", "02"])
def test_a_trace_that_is_not_sampled_stays_so_to_the_end(flags: str) -> None:
    exporter = InMemorySpanExporter()
    recorded = recorded_by(exporter)
    not_sampled = TRACEPARENT[:-2] + flags
    span, request = taken(recorded, REQUEST._replace(traceparent=not_sampled))
    attempt = recorded.attempt("POST", URL, request.traceparent, request.tracestate, 0)
    publish = recorded.publish(OUTCOME._replace(traceparent=request.traceparent, tracestate=request.tracestate))
    for each in (span, attempt, publish):
        assert (each.traceparent, each.tracestate) == (not_sampled, "a=b")
        each.taken_as("duplicate")
        each.end(error="x")
    assert exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("sampler", "traceparent"),
    [(ParentBased(TraceIdRatioBased(0)), None), (ALWAYS_OFF, None), (ALWAYS_OFF, TRACEPARENT)],
    ids=["at the root", "off", "off, against its parent"],
)
def test_what_the_sampler_drops_is_asked_about_once_and_carries_the_decision(
    sampler: Sampler, traceparent: str | None
) -> None:
    exporter, asked = InMemorySpanExporter(), Asked(sampler)
    recorded = recorded_by(exporter, asked)
    span, request = taken(recorded, REQUEST._replace(traceparent=traceparent, tracestate=None))
    span.end()
    attempt = recorded.attempt("POST", URL, request.traceparent, request.tracestate, 0)
    publish = recorded.publish(OUTCOME._replace(traceparent=request.traceparent))
    assert request.traceparent is not None
    assert {span.traceparent, attempt.traceparent, publish.traceparent} == {request.traceparent}
    assert not int(request.traceparent[-2:], 16) & TraceFlags.SAMPLED
    if traceparent is not None:
        assert request.traceparent[:-2] == traceparent[:-2]
    assert asked.names == ["process requests"]
    assert exporter.get_finished_spans() == ()


def test_the_sampler_knows_what_the_conventions_want_it_to_know() -> None:
    asked = Asked(ParentBased(ALWAYS_ON))
    recorded = recorded_by(InMemorySpanExporter(), asked)
    span, request = taken(recorded)
    recorded.settle([span], 3)
    recorded.attempt("POST", URL, request.traceparent, None, 0)
    recorded.publish(OUTCOME)
    messaging = {"messaging.system", "messaging.operation.name", "messaging.operation.type"}
    for given in (asked.given[0], asked.given[1], asked.given[3]):
        assert messaging | {"messaging.destination.name"} <= given.keys()
    assert {"http.request.method", "server.address", "server.port", "url.full"} <= asked.given[2].keys()
