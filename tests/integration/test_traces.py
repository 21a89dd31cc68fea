"""Traces as a collector sees them: one for each request, from its producer to the reader of its outcome."""

from collections.abc import Iterator

import pytest

from tests.support.requests import request
from tests.support.spans import Seen, SpanSink
from tests.support.system import System
from tests.support.traces import PRODUCER, TRACE, TRACEPARENT, assert_one_trace, start_pending, traced_request
from tests.support.waiting import until

pytestmark = pytest.mark.kafka


@pytest.fixture
def sink() -> Iterator[SpanSink]:
    with SpanSink() as sink:
        yield sink


def telemetry(sink: SpanSink, **settings: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "OTEL_BSP_SCHEDULE_DELAY": "50", **settings}


def posts(sink: SpanSink) -> list[Seen]:
    return sorted(
        (span for span in sink.spans if span.name == "POST" and span.trace_id == TRACE),
        key=lambda span: int(span.attributes.get("http.request.resend_count", 0)),
    )


def test_a_request_is_one_trace_over_the_gap_and_a_killed_worker(system: System, sink: SpanSink) -> None:
    sent = traced_request("P11223351-T0001")
    first = start_pending(system, sent, telemetry(sink))
    assert len(sink.of_trace(TRACE, 4)) >= 4  # process, commit, POST, send created
    first.kill()
    system.start_worker(**telemetry(sink))
    outcomes = system.outcomes_of([sent])
    completed = {"cloudevents.event_type": "terminal.operation.completed.v1"}
    until(lambda: any(completed.items() <= span.attributes.items() for span in sink.spans), 15)
    assert_one_trace(system, sent, outcomes, sink.of_trace(TRACE, 0))

    tokens = [span for span in sink.spans if span.name == "POST" and span.trace_id != TRACE]
    assert len(tokens) == 2, "one token for each worker"
    assert {(span.parent_id, span.attributes["url.full"].rpartition("/")[2]) for span in tokens} == {("", "token")}


def test_a_create_that_is_sent_again_counts_also_over_a_crash_and_a_repeat_says_what_it_is(
    system: System, sink: SpanSink
) -> None:
    sent = traced_request("P11223351-T0002")
    first = system.start_ready_worker(**telemetry(sink))
    before = request("P11223351-T0002")
    system.send([before])
    system.outcomes_of([before])  # the worker has its token
    system.simulator.change({"error_before_rate": 1.0})
    system.send([sent])
    until(lambda: len(posts(sink)) >= 3, 15)
    first.kill()
    counts = [span.attributes.get("http.request.resend_count") for span in posts(sink)]
    assert counts == [None, *range(1, len(counts))]
    assert all(span.failed and span.attributes["error.type"] == "503" for span in posts(sink))

    dead = posts(sink)[0].resource["service.instance.id"]
    system.simulator.change({"error_before_rate": 0.0})
    system.start_worker(**telemetry(sink))
    system.outcomes_of([sent])
    # By their worker: a batch of the dead one may still be on its way into the sink.
    (post,) = until(lambda: [span for span in posts(sink) if span.resource["service.instance.id"] != dead], 15)
    # The first life's count died with it; that the create may have been sent before is known.
    assert post.attributes["http.request.resend_count"] == 1
    assert post.attributes["terminal_operations.restored"] is True

    again = f"00-{'5' * 32}-{PRODUCER}-01"
    system.send([traced_request("P11223351-T0002", ce_id=sent.header("ce_id") or "", traceparent=again)])
    process, commit = sorted(sink.of_trace("5" * 32, 2), key=lambda span: span.kind, reverse=True)
    assert process.attributes["terminal_operations.acceptance"] == "duplicate"
    assert not process.failed
    assert commit.links == (process.span_id,)


def test_a_message_that_is_refused_has_its_error_where_its_trace_ends(system: System, sink: SpanSink) -> None:
    sent = traced_request("P11223351-T0003", ce_specversion="0.3")
    system.start_ready_worker(**telemetry(sink))
    system.send([sent])
    (failed,) = system.outcomes_of([sent])
    process, send = (
        next(span for span in sink.of_trace(TRACE, 3) if span.kind == kind) for kind in ("CONSUMER", "PRODUCER")
    )
    assert process.failed
    assert process.attributes["error.type"] == "invalid_request"
    assert send.parent_id == process.span_id
    assert failed.header("traceparent") == f"00-{TRACE}-{send.span_id}-01"


@pytest.mark.parametrize(
    ("sampler", "flags"), [("parentbased_always_on", "00"), ("always_off", "01"), ("traceidratio", "01")]
)
def test_a_request_that_is_not_sampled_leaves_its_context_alone_but_for_the_flag(
    system: System, sink: SpanSink, sampler: str, flags: str
) -> None:
    system.start_ready_worker(**telemetry(sink, OTEL_TRACES_SAMPLER=sampler, OTEL_TRACES_SAMPLER_ARG="0"))
    sent = traced_request("P11223351-T0004", traceparent=TRACEPARENT[:-2] + flags)
    system.send([sent])
    for outcome in system.outcomes_of([sent]):
        assert outcome.header("traceparent") == f"{TRACEPARENT[:-2]}00"
        assert outcome.header("tracestate") == "a=b"
    assert sink.of_trace(TRACE, 1, timeout=0.5) == []
