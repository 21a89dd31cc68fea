"""One request's trace over the death of its worker: how it comes about, and what a backend must have of it."""

from collections.abc import Sequence

from tests.support.records import Message
from tests.support.requests import request
from tests.support.spans import Seen
from tests.support.system import System
from worker.demo.process import WorkerProcess

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PRODUCER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PRODUCER}-01"
BAGGAGE = "shop=7,night=true"


def traced_request(terminal: str, **headers: str) -> Message:
    return request(terminal, **{"traceparent": TRACEPARENT, "tracestate": "a=b", "baggage": BAGGAGE, **headers})


def start_pending(system: System, sent: Message, telemetry: dict[str, str]) -> WorkerProcess:
    """A worker that has published `created` of a request that the terminal will answer only later."""
    worker = system.start_ready_worker(**telemetry)
    system.simulator.change({"completion_min": 8.0, "completion_max": 8.0})
    system.send([sent])
    return worker


def assert_one_trace(system: System, sent: Message, outcomes: Sequence[Message], spans: Sequence[Seen]) -> None:
    """Of a request whose worker was killed once its `created` was published: the names, who belongs to whom, and what
    is told of each; and that the outcomes name the spans that sent them.
    """
    topic, group = system.topics.requests, system.topics.requests
    (process,), (commit,), (post,) = (_named(spans, name) for name in (f"process {topic}", f"commit {topic}", "POST"))
    polls, sends = _named(spans, "GET"), _named(spans, f"send {system.topics.outcomes}")
    assert len(spans) == 3 + len(polls) + len(sends)
    assert polls
    assert {span.trace_id for span in spans} == {TRACE}

    assert (process.parent_id, process.links, process.kind) == (PRODUCER, (PRODUCER,), "CONSUMER")
    assert {span.parent_id for span in spans if span is not process} == {process.span_id}
    assert (commit.kind, commit.links) == ("CLIENT", (process.span_id,))
    assert {span.kind for span in (post, *polls)} == {"CLIENT"}
    assert {span.kind for span in sends} == {"PRODUCER"}
    assert not any(span.failed for span in spans)
    assert max(span.seconds for span in spans) < 5, "a span was open for long"

    told = process.attributes
    assert told["messaging.system"] == "kafka"
    assert (told["messaging.operation.type"], commit.attributes["messaging.operation.type"]) == ("process", "settle")
    assert (told["messaging.destination.name"], told["messaging.consumer.group.name"]) == (topic, group)
    assert told["messaging.message.id"] == sent.header("ce_id")
    assert told["messaging.kafka.offset"] == 0
    assert post.attributes["http.response.status_code"] in (200, 201)
    assert post.attributes["url.full"].startswith(f"{system.simulator.url}/v1/")
    assert "http.request.resend_count" not in post.attributes

    later = [poll for poll in polls if poll.attributes.get("terminal_operations.restored")]
    assert later, "nothing tells that the request was taken up again"
    assert {_instance(span) for span in later}.isdisjoint({_instance(span) for span in (process, commit, post)})
    assert {span.resource["service.name"] for span in spans} == {"terminal-operations-worker"}

    by_event = {span.attributes["messaging.message.id"]: span for span in sends}
    assert len(outcomes) == len(by_event) == 2
    for outcome in outcomes:
        span = by_event[outcome.header("ce_id")]
        assert outcome.header("traceparent") == f"00-{TRACE}-{span.span_id}-01"
        assert (outcome.header("tracestate"), outcome.header("baggage")) == ("a=b", BAGGAGE)
        assert span.attributes["cloudevents.event_type"] == outcome.header("ce_type")
        assert span.attributes["messaging.kafka.message.key"] == (outcome.key or b"").decode()


def _named(spans: Sequence[Seen], name: str) -> list[Seen]:
    return [span for span in spans if span.name == name]


def _instance(span: Seen) -> str:
    return str(span.resource["service.instance.id"])
