"""Spans: `process` when a request is taken in, `commit` when it is in the ledger, `POST` and `GET` for each call of the
API, `send` for each outcome.

A request lives for minutes and over restarts, a span only in one process. So each step is a short span of the trace
that came with the request; the context of its process span travels in the ledger and is the parent of the rest.
Whether a request is recorded is decided once, with its process span: the flags of that context tell every later step.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AttributeValue

from schemas import names
from worker.domain import identity
from worker.domain.outcome import Outcome
from worker.domain.request import Invalid, Request
from worker.telemetry import export

_NO_CONTEXT = Context()
_ERROR = Status(StatusCode.ERROR)
# The last digit of a traceparent holds the sampled flag in its lowest bit.
_SAMPLED = frozenset("13579bdf")
# A commit under load settles hundreds; the SDK drops what is over 128 of them.
_MOST_LINKS = 100

log = structlog.wrap_logger(logging.getLogger(__name__))

Attributes = dict[str, AttributeValue]


class Span:
    """One step. This base records nothing and carries the context it was given."""

    __slots__ = ("traceparent", "tracestate")

    def __init__(self, traceparent: str | None = None, tracestate: str | None = None) -> None:
        self.traceparent = traceparent
        self.tracestate = tracestate

    def taken_as(self, acceptance: str, error: str | None = None) -> None:
        """What became of a message that was not simply accepted; with an error, a bounded label, it was refused."""

    def end(self, http_status: int | None = None, error: str | None = None) -> None:
        """Ends the step; call it once. `error` is a bounded label, such as an exception's class or a reason."""


_NOTHING = Span()


def _pass_on(traceparent: str | None, tracestate: str | None) -> Span:
    return _NOTHING if traceparent is None else Span(traceparent, tracestate)


class Tracing:
    """Records nothing and passes contexts through. No method raises or blocks, but `stop`."""

    def process(self, incoming: Request | Invalid, partition: int) -> tuple[Span, Request | Invalid]:
        """The taking in of a message, and the message with the context that its later steps belong to."""
        return _NOTHING, incoming

    def settle(self, taken: Sequence[Span], partition: int) -> Span:
        """The commit that settles these messages, given by their process spans."""
        return _NOTHING

    def attempt(
        self,
        method: str,
        url: str,
        traceparent: str | None,
        tracestate: str | None,
        resend_count: int,
        *,
        restored: bool = False,
    ) -> Span:
        """One HTTP call; without a context, as for a token, it is a trace of its own.

        `resend_count` counts the calls before it for the same purpose. `restored`: for a request that was taken in by
        another process, or before a doubt.
        """
        return _pass_on(traceparent, tracestate)

    def publish(self, outcome: Outcome) -> Span:
        """The sending of an outcome; end it when the commit that carries it has ended."""
        return _pass_on(outcome.traceparent, outcome.tracestate)

    async def stop(self, timeout: float) -> None:
        """Sends what is left, for at most `timeout` seconds; the rest is lost."""


class _RecordedSpan(Span):
    __slots__ = ("_span", "context")

    def __init__(self, span: trace.Span, context: SpanContext) -> None:
        self._span = span
        self.context = context
        super().__init__(_traceparent(context, context.trace_flags), _tracestate(context))

    def taken_as(self, acceptance: str, error: str | None = None) -> None:
        self._span.set_attribute("terminal_operations.acceptance", acceptance)
        self._failed(error)

    def end(self, http_status: int | None = None, error: str | None = None) -> None:
        if http_status is not None:
            self._span.set_attribute("http.response.status_code", http_status)
            if error is None and http_status >= 400:
                error = str(http_status)
        self._failed(error)
        self._span.end()

    def _failed(self, error: str | None) -> None:
        if error is not None:
            self._span.set_attribute("error.type", error)
            self._span.set_status(_ERROR)


class _Parent(NamedTuple):
    span: SpanContext
    context: Context


class RecordedTracing(Tracing):
    """Spans by the OpenTelemetry SDK, named by its conventions for messaging (development) and HTTP (stable).

    The process span is a child of the request's own context and also links to it: a reader of the producer's trace
    finds the whole story, and tools that follow links only find it too. Whether a trace is recorded is the sampler's
    decision, taken with the process span. A request that is not recorded costs nothing after it, and what is sent for
    it carries its producer's span with the sampled flag off.
    """

    def __init__(
        self, provider: TracerProvider, *, requests_topic: str, outcomes_topic: str, group_id: str, event_source: str
    ) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("worker.telemetry", schema_url=Schemas.V1_44_0.value)
        self._process_name = f"process {requests_topic}"
        self._commit_name = f"commit {requests_topic}"
        self._send_name = f"send {outcomes_topic}"
        group = {"messaging.consumer.group.name": group_id}
        self._process_attributes = {**_messaging("process", "process", requests_topic), **group}
        self._commit_attributes = {**_messaging("commit", "settle", requests_topic), **group}
        self._send_attributes = {
            event_type: {
                **_messaging("send", "send", outcomes_topic),
                "cloudevents.event_source": event_source,
                "cloudevents.event_type": event_type,
            }
            for event_type in names.OUTCOME_TYPES.values()
        }

    def process(self, incoming: Request | Invalid, partition: int) -> tuple[Span, Request | Invalid]:
        known = incoming if isinstance(incoming, Request) else incoming.identity
        attributes = {
            **self._process_attributes,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": incoming.offset,
        }
        parent = None
        if known is not None:
            attributes["messaging.message.id"] = known.message_id
            attributes["messaging.message.conversation_id"] = known.correlation_id
            parent = _parent(known.traceparent, known.tracestate, is_remote=True)
        links = [Link(parent.span)] if parent is not None else None
        span = self._start(self._process_name, parent, SpanKind.CONSUMER, attributes, links)
        if isinstance(incoming, Request):
            return span, incoming._replace(traceparent=span.traceparent, tracestate=span.tracestate)
        if incoming.identity is not None:
            named = replace(incoming.identity, traceparent=span.traceparent, tracestate=span.tracestate)
            incoming = replace(incoming, identity=named)
        return span, incoming

    def settle(self, taken: Sequence[Span], partition: int) -> Span:
        recorded = [span for span in taken if isinstance(span, _RecordedSpan)]
        if not recorded:
            return _NOTHING
        attributes = {
            **self._commit_attributes,
            "messaging.destination.partition.id": str(partition),
            "messaging.batch.message_count": len(taken),
        }
        links = [Link(span.context) for span in recorded[:_MOST_LINKS]]
        # In the first one's trace rather than in its own: it is recorded exactly when something that it settles is.
        parent = _parent(recorded[0].traceparent, recorded[0].tracestate, is_remote=False)
        return self._start(self._commit_name, parent, SpanKind.CLIENT, attributes, links)

    def attempt(
        self,
        method: str,
        url: str,
        traceparent: str | None,
        tracestate: str | None,
        resend_count: int,
        *,
        restored: bool = False,
    ) -> Span:
        if traceparent is not None and traceparent[-1] not in _SAMPLED:
            return Span(traceparent, tracestate)
        path = url.find("/", url.find("//") + 2)
        origin, server = _server(url[:path])
        attributes: Attributes = {"http.request.method": method, "url.full": origin + url[path:], **server}
        if resend_count:
            attributes["http.request.resend_count"] = resend_count
        if restored:
            attributes["terminal_operations.restored"] = True
        parent = _parent(traceparent, tracestate, is_remote=restored)
        return self._start(method, parent, SpanKind.CLIENT, attributes)

    def publish(self, outcome: Outcome) -> Span:
        traceparent = outcome.traceparent
        if traceparent is not None and traceparent[-1] not in _SAMPLED:
            return Span(traceparent, outcome.tracestate)
        event_type = names.OUTCOME_TYPES[outcome.type.value]
        event_id = identity.event_id(outcome.key, event_type)
        attributes = {
            **self._send_attributes[event_type],
            "messaging.message.id": event_id,
            "messaging.message.conversation_id": outcome.correlation_id,
            "cloudevents.event_id": event_id,
        }
        if outcome.terminal_id is not None:
            attributes["messaging.kafka.message.key"] = outcome.terminal_id
        parent = _parent(traceparent, outcome.tracestate, is_remote=False)
        return self._start(self._send_name, parent, SpanKind.PRODUCER, attributes)

    def _start(
        self, name: str, parent: _Parent | None, kind: SpanKind, attributes: Attributes, links: list[Link] | None = None
    ) -> Span:
        """All that a sampler may want to know is given here."""
        span = self._tracer.start_span(name, parent.context if parent else _NO_CONTEXT, kind, attributes, links)
        context = span.get_span_context()
        if span.is_recording():
            return _RecordedSpan(span, context)
        # Nobody will find a span that was not recorded: its parent's name goes on, with the decision.
        named = parent.span if parent else context
        return Span(_traceparent(named, context.trace_flags), _tracestate(context))

    async def stop(self, timeout: float) -> None:
        await export.stop(self._provider, timeout)


def _messaging(operation: str, operation_type: str, topic: str) -> Attributes:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation_type,
        "messaging.destination.name": topic,
    }


def _traceparent(context: SpanContext, flags: TraceFlags) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"


def _tracestate(context: SpanContext) -> str | None:
    return context.trace_state.to_header() if context.trace_state else None


# Most of a request's steps come soon one after the other, and each would cost 5 us.
@lru_cache(maxsize=1024)
def _parent(traceparent: str | None, tracestate: str | None, *, is_remote: bool) -> _Parent | None:
    """What a traceparent says, whose form the wire has checked."""
    if traceparent is None:
        return None
    state = TraceState.from_header([tracestate]) if tracestate else None
    flags = TraceFlags(int(traceparent[53:], 16))
    span = SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote, flags, state)
    # Never within the ambient context: the worker's tasks serve many traces.
    return _Parent(span, trace.set_span_in_context(trace.NonRecordingSpan(span), _NO_CONTEXT))


@lru_cache(maxsize=16)
def _server(origin: str) -> tuple[str, Attributes]:
    """An origin without the credentials that must not leave the process, and what is told of its server."""
    parts = urlsplit(origin)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return shown, {"server.address": parts.hostname or "", "server.port": port}


def build_tracing(
    resource: Resource, *, requests_topic: str, outcomes_topic: str, group_id: str, event_source: str
) -> Tracing:
    """Recorded spans, sent by OTLP over HTTP, where the `OTEL_*` variables ask for them; else none.

    The SDK reads the sampler, the batches, the endpoint and its headers from the environment by itself.
    """
    if not export.wanted("TRACES"):
        return Tracing()
    try:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(session=export.Session("TRACES"))))
    except ValueError as error:
        # One of its variables holds nonsense. The worker works without.
        log.error("traces_off", why=str(error))
        return Tracing()
    return RecordedTracing(
        provider,
        requests_topic=requests_topic,
        outcomes_topic=outcomes_topic,
        group_id=group_id,
        event_source=event_source,
    )
