"""Whether a request is recorded: the sampler's decision, taken once and kept to the end."""

from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import TraceFlags, TraceState

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
    taken(recorded)
    recorded.attempt("POST", URL, None, None, 0)
    recorded.publish(OUTCOME._replace(traceparent=None))
    process, attempt, publish = asked.given
    messaging = {"messaging.system", "messaging.operation.name", "messaging.operation.type"}
    for given in (process, publish):
        assert messaging | {"messaging.destination.name"} <= given.keys()
    assert {"http.request.method", "server.address", "server.port", "url.full"} <= attempt.keys()


def test_a_request_that_is_recorded_is_so_to_the_end_whatever_a_sampler_would_say_later() -> None:
    exporter, asked = InMemorySpanExporter(), Asked(ParentBased(ALWAYS_ON))
    recorded = recorded_by(exporter, asked)
    span, request = taken(recorded)
    asked.other = ALWAYS_OFF
    recorded.settle([span], 3).end()
    recorded.attempt("POST", URL, request.traceparent, request.tracestate, 0).end(200)
    recorded.publish(OUTCOME._replace(traceparent=request.traceparent)).end()
    assert [done.name for done in exporter.get_finished_spans()] == ["commit requests", "POST", "send outcomes"]
    assert asked.names == ["process requests"]


class Deciding(Sampler):
    """Says always the same, and has something to add."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision

    def should_sample(self, parent_context: Any, trace_id: int, name: str, *args: Any, **given: Any) -> SamplingResult:
        return SamplingResult(self.decision, {**args[1], "sampled.by": "us"}, TraceState([("by", "us")]))

    def get_description(self) -> str:
        return "deciding"


def test_what_a_sampler_adds_is_told_and_its_state_goes_on() -> None:
    exporter = InMemorySpanExporter()
    span, request = taken(recorded_by(exporter, Deciding(Decision.RECORD_AND_SAMPLE)))
    span.end()
    (done,) = exporter.get_finished_spans()
    assert (done.attributes or {})["sampled.by"] == "us"
    assert request.tracestate == "by=us"


def test_what_is_recorded_but_not_to_be_sent_is_not_recorded() -> None:
    _, request = taken(recorded_by(InMemorySpanExporter(), Deciding(Decision.RECORD_ONLY)))
    assert request.traceparent == TRACEPARENT[:-2] + "00"


@pytest.mark.parametrize("theirs", ["01", "03"])
def test_whether_a_trace_id_is_random_is_for_its_maker_to_say(theirs: str) -> None:
    recorded = recorded_by(InMemorySpanExporter())
    _, request = taken(recorded, REQUEST._replace(traceparent=TRACEPARENT[:-2] + theirs))
    _, first = taken(recorded, REQUEST._replace(traceparent=None))
    assert [(told.traceparent or "")[-2:] for told in (request, first)] == [theirs, "03"]
