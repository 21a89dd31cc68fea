"""Spans for OpenTelemetry, named by its conventions for messaging (development) and HTTP (stable).

Sampler, ids, batches and exporter are the SDK's. Its open spans are not used: they are made for many threads. A step
is gathered here and becomes a finished span of the SDK at its end, for a third of the price.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from time import time_ns
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AttributeValue

from schemas import names
from worker.domain import identity
from worker.domain.outcome import Outcome
from worker.domain.request import Invalid, Request
from worker.telemetry import export
from worker.telemetry.exporter import Exporter
from worker.telemetry.session import Session
from worker.telemetry.tracing import NOTHING, Span, Tracing

_SCOPE = InstrumentationScope("worker.telemetry", schema_url=Schemas.V1_44_0.value)
_NO_CONTEXT = Context()
_UNSET = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)
# The last digit of a traceparent holds the sampled flag in its lowest bit.
_SAMPLED = frozenset("13579bdf")
# A commit under load settles hundreds; the specification's limit is 128.
_MOST_LINKS = 100

Attributes = dict[str, AttributeValue]


class _RecordedSpan(Span):
    """`finished` makes the SDK's span of what is known at the end."""

    __slots__ = ("_attributes", "_finished", "_processor", "_status", "context")

    def __init__(
        self, context: SpanContext, attributes: Attributes, finished: partial[ReadableSpan], processor: SpanProcessor
    ) -> None:
        super().__init__(_traceparent(context), _tracestate(context))
        self.context = context
        self._attributes = attributes
        self._finished = finished
        self._processor = processor
        self._status = _UNSET

    def taken_as(self, acceptance: str, error: str | None = None) -> None:
        self._attributes["terminal_operations.acceptance"] = acceptance
        self._failed(error)

    def end(self, http_status: int | None = None, error: str | None = None) -> None:
        if http_status is not None:
            self._attributes["http.response.status_code"] = http_status
            if error is None and http_status >= 400:
                error = str(http_status)
        self._failed(error)
        self._processor.on_end(self._finished(attributes=self._attributes, status=self._status, end_time=time_ns()))

    def _failed(self, error: str | None) -> None:
        if error is not None:
            self._attributes["error.type"] = error
            self._status = _ERROR


class RecordedTracing(Tracing):
    """What is recorded goes to the processor as it ends.

    The process span is a child of the request's own context and also links to it: a reader of the producer's trace
    finds the whole story, and tools that follow links only find it too. Whether a trace is recorded is the sampler's
    decision, taken with the process span. A request that is not recorded costs nothing after it, and what is sent for
    it carries its producer's span with the sampled flag off.
    """

    def __init__(
        self,
        provider: TracerProvider,
        processor: SpanProcessor,
        *,
        requests_topic: str,
        outcomes_topic: str,
        group_id: str,
        event_source: str,
    ) -> None:
        self._sampler = provider.sampler
        self._ids = provider.id_generator
        self._processor = processor
        self._span = partial(ReadableSpan, resource=_Reporter(provider.resource), instrumentation_scope=_SCOPE)
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
        sender = None
        if known is not None:
            attributes["messaging.message.id"] = known.message_id
            attributes["messaging.message.conversation_id"] = known.correlation_id
            sender = _context(known.traceparent, known.tracestate, is_remote=True)
        span = self._decide(self._process_name, SpanKind.CONSUMER, attributes, sender)
        if isinstance(incoming, Request):
            return span, incoming._replace(traceparent=span.traceparent, tracestate=span.tracestate)
        if incoming.identity is not None:
            named = replace(incoming.identity, traceparent=span.traceparent, tracestate=span.tracestate)
            incoming = replace(incoming, identity=named)
        return span, incoming

    def settle(self, taken: Sequence[Span], partition: int) -> Span:
        recorded = [span.context for span in taken if isinstance(span, _RecordedSpan)]
        if not recorded:
            return NOTHING
        attributes = {
            **self._commit_attributes,
            "messaging.destination.partition.id": str(partition),
            "messaging.batch.message_count": len(taken),
        }
        links = [Link(context) for context in recorded[:_MOST_LINKS]]
        # In the first one's trace rather than in its own: it is recorded exactly when something that it settles is.
        return self._record(self._commit_name, SpanKind.CLIENT, attributes, recorded[0], links)

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
        parent = _context(traceparent, tracestate, is_remote=restored)
        return self._record(method, SpanKind.CLIENT, attributes, parent)

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
        parent = _context(traceparent, outcome.tracestate, is_remote=False)
        return self._record(self._send_name, SpanKind.PRODUCER, attributes, parent)

    def _record(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        parent: SpanContext | None,
        links: Sequence[Link] = (),
    ) -> Span:
        """A step whose trace is recorded, as its parent tells; without a parent that is decided here."""
        if parent is None:
            return self._decide(name, kind, attributes, None)
        context = SpanContext(
            parent.trace_id, self._ids.generate_span_id(), False, parent.trace_flags, parent.trace_state
        )
        return self._open(name, kind, attributes, context, parent, links)

    def _decide(self, name: str, kind: SpanKind, attributes: Attributes, sender: SpanContext | None) -> Span:
        """Our first step of a trace: the sampler decides, and is given all that it may want to know."""
        span_id = self._ids.generate_span_id()
        if sender is None:
            within, links = _NO_CONTEXT, []
            trace_id, random = self._ids.generate_trace_id(), self._ids.is_trace_id_random()
        else:
            # Never within the ambient context: the worker's tasks serve many traces.
            within, links = trace.set_span_in_context(trace.NonRecordingSpan(sender), _NO_CONTEXT), [Link(sender)]
            trace_id, random = sender.trace_id, sender.trace_flags.random_trace_id
        result = self._sampler.should_sample(within, trace_id, name, kind, attributes, links)
        sampled = result.decision is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(sampled * TraceFlags.SAMPLED | random * TraceFlags.RANDOM_TRACE_ID)
        if sampled:
            context = SpanContext(trace_id, span_id, False, flags, result.trace_state)
            return self._open(name, kind, dict(result.attributes), context, sender, links)
        # Nobody will find a span that is not recorded: its sender's name goes on, with the decision.
        named = SpanContext(trace_id, sender.span_id if sender else span_id, False, flags, result.trace_state)
        return Span(_traceparent(named), _tracestate(named))

    def _open(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        context: SpanContext,
        parent: SpanContext | None,
        links: Sequence[Link],
    ) -> Span:
        finished = partial(self._span, name, context, parent, kind=kind, links=links, start_time=time_ns())
        return _RecordedSpan(context, attributes, finished, self._processor)

    async def stop(self, timeout: float) -> None:
        await export.stop(self._processor.shutdown, timeout)


class _Reporter(Resource):
    """Takes its hash once: the exporter asks for it with every span, and the SDK's is of a JSON text made for it."""

    def __init__(self, resource: Resource) -> None:
        super().__init__(resource.attributes, resource.schema_url)
        self._hash = super().__hash__()

    def __hash__(self) -> int:
        return self._hash


def _messaging(operation: str, operation_type: str, topic: str) -> Attributes:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation_type,
        "messaging.destination.name": topic,
    }


def _traceparent(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _tracestate(context: SpanContext) -> str | None:
    return context.trace_state.to_header() if context.trace_state else None


# Most of a request's steps come soon one after the other, and each would cost 5 us.
@lru_cache(maxsize=1024)
def _context(traceparent: str | None, tracestate: str | None, *, is_remote: bool) -> SpanContext | None:
    """What a traceparent says, whose form the wire has checked."""
    if traceparent is None:
        return None
    state = TraceState.from_header([tracestate]) if tracestate else None
    flags = TraceFlags(int(traceparent[53:], 16))
    return SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), is_remote, flags, state)


@lru_cache(maxsize=16)
def _server(origin: str) -> tuple[str, Attributes]:
    """An origin without the credentials that must not leave the process, and what is told of its server."""
    parts = urlsplit(origin)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return shown, {"server.address": parts.hostname or "", "server.port": port}


def build(
    resource: Resource, *, requests_topic: str, outcomes_topic: str, group_id: str, event_source: str
) -> RecordedTracing:
    """Sent in batches by OTLP over HTTP. Raises ValueError where a variable of the SDK's holds nonsense."""
    # The provider reads the sampler from the environment.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    processor = BatchSpanProcessor(Exporter(session=Session("TRACES")))
    return RecordedTracing(
        provider,
        processor,
        requests_topic=requests_topic,
        outcomes_topic=outcomes_topic,
        group_id=group_id,
        event_source=event_source,
    )
