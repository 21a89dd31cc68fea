"""One trace, from the producer's request to the outcome's reader, as a collector sees it."""

from collections import Counter

import pytest

from tests.support.requests import request
from tests.support.spans import SpanSink
from tests.support.system import System

pytestmark = pytest.mark.kafka

_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
_PARENT = "00f067aa0ba902b7"


def test_a_request_is_one_trace_over_the_gap_and_a_killed_worker(system: System) -> None:
    sent = request("P11223351-T0001", traceparent=f"00-{_TRACE}-{_PARENT}-01")
    with SpanSink() as sink:
        telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        first = system.start_ready_worker(**telemetry)
        system.simulator.change({"completion_min": 8.0, "completion_max": 8.0})
        system.send([sent])
        begun = sink.of_trace(_TRACE, 3)  # process, POST, send created
        first.kill()
        system.start_worker(**telemetry)
        created, completed = system.outcomes_of([sent])
        spans = sink.of_trace(_TRACE, 5)
    names = Counter(span.name for span in spans)
    outcomes, requests = f"send {system.topics.outcomes}", f"process {system.topics.requests}"
    assert {requests, "POST", outcomes} <= {span.name for span in begun}
    assert (names[requests], names["POST"], names[outcomes]) == (1, 1, 2)
    assert names["GET"] >= 1
    assert {span.service for span in spans} == {"terminal-operations-worker"}
    (process,) = (span for span in spans if span.name == requests)
    assert process.parent_id == _PARENT
    assert {span.parent_id for span in spans if span is not process} == {process.span_id}
    published = {span.span_id for span in spans if span.name == outcomes}
    assert {(outcome.header("traceparent") or "").split("-")[2] for outcome in (created, completed)} == published
