"""Spans: `process` when a request is taken in, `POST`/`GET` for each call of the API, `send` for each outcome.

A request lives for minutes and over restarts, a span only in one process. So each step is a short span of the trace
that came with the request; the context of its process span travels in the ledger and is the parent of the rest.
"""

from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import AttributeValue

from schemas import names
from worker.domain import identity
from worker.domain.outcome import Outcome
from worker.domain.request import Request
from worker.telemetry import export

_NO_CONTEXT = Context()
_ERROR = Status(StatusCode.ERROR)


class Span:
    """One step. This base records nothing and carries the context it was given."""

    __slots__ = ("traceparent", "tracestate")

    def __init__(self, traceparent: str | None = None, tracestate: str | None = None) -> None:
        self.traceparent = traceparent
        self.tracestate = tracestate

    def end(self, http_status: int | None = None, error: str | None = None) -> None:
        """Ends the step; call it once. `error` is a bounded label, such as an exception's class or a reason."""


_NOTHING = Span()


def _pass_on(traceparent: str | None, tracestate: str | None) -> Span:
    return _NOTHING if traceparent is None else Span(traceparent, tracestate)


class Tracing:
    """Records nothing and passes contexts through. No method raises or blocks, but `stop`."""

    def process(self, request: Request, partition: int) -> tuple[Span, Request]:
        """The taking in of a request, and the request with the context that its later steps belong to."""
        return _pass_on(request.traceparent, request.tracestate), request

    def attempt(
        self, method: str, url: str, traceparent: str | None, tracestate: str | None, resend_count: int
    ) -> Span:
        """One HTTP call. `resend_count` counts the calls before it for the same purpose."""
        return _pass_on(traceparent, tracestate)

    def publish(self, outcome: Outcome) -> Span:
        """The sending of an outcome; end it when the commit that carries it has ended."""
        return _pass_on(outcome.traceparent, outcome.tracestate)

    async def stop(self, timeout: float) -> None:
        """Sends what is left, for at most `timeout` seconds; the rest is lost."""


class _RecordedSpan(Span):
    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        context = span.get_span_context()
        super().__init__(
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}",
            context.trace_state.to_header() or None,
        )

    def end(self, http_status: int | None = None, error: str | None = None) -> None:
        span = self._span
        if span.is_recording():
            if http_status is not None:
                span.set_attribute("http.response.status_code", http_status)
                if error is None and http_status >= 400:
                    error = str(http_status)
            if error is not None:
                span.set_attribute("error.type", error)
                span.set_status(_ERROR)
        span.end()


class RecordedTracing(Tracing):
    """Spans by the OpenTelemetry SDK, named by its conventions for messaging (development) and HTTP (stable).

    The process span is a child of the request's own context and also links to it: a reader of the producer's trace
    finds the whole story, and tools that follow links only find it too. Whether a trace is recorded is the sampler's
    decision; one that is not costs no attributes beyond those it samples by, and its flags travel on.
    """

    def __init__(
        self, provider: TracerProvider, *, requests_topic: str, outcomes_topic: str, group_id: str, event_source: str
    ) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("worker.telemetry")
        self._process_name = f"process {requests_topic}"
        self._send_name = f"send {outcomes_topic}"
        self._process_attributes = {
            **_messaging("process", requests_topic),
            "messaging.consumer.group.name": group_id,
        }
        self._send_attributes = {
            **_messaging("send", outcomes_topic),
            "cloudevents.event_source": event_source,
            "cloudevents.event_spec_version": names.SPEC_VERSION,
        }

    def process(self, request: Request, partition: int) -> tuple[Span, Request]:
        attributes: dict[str, AttributeValue] = {
            **self._process_attributes,
            "messaging.destination.partition.id": str(partition),
            "messaging.kafka.offset": request.offset,
            "messaging.message.id": request.message_id,
            "messaging.message.conversation_id": request.correlation_id,
        }
        parent = _span_context(request.traceparent, request.tracestate)
        span = _RecordedSpan(
            self._tracer.start_span(
                self._process_name,
                _parent(parent),
                SpanKind.CONSUMER,
                attributes,
                [trace.Link(parent)] if parent is not None else None,
            )
        )
        return span, request._replace(traceparent=span.traceparent, tracestate=span.tracestate)

    def attempt(
        self, method: str, url: str, traceparent: str | None, tracestate: str | None, resend_count: int
    ) -> Span:
        parts = urlsplit(url)
        attributes: dict[str, AttributeValue] = {
            "http.request.method": method,
            "server.address": parts.hostname or "",
            "server.port": parts.port or (80 if parts.scheme == "http" else 443),
            # Credentials in a URL must not leave the process.
            "url.full": parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        }
        if resend_count:
            attributes["http.request.resend_count"] = resend_count
        parent = _parent(_span_context(traceparent, tracestate))
        return _RecordedSpan(self._tracer.start_span(method, parent, SpanKind.CLIENT, attributes))

    def publish(self, outcome: Outcome) -> Span:
        event_type = names.OUTCOME_TYPES[outcome.type.value]
        event_id = identity.event_id(outcome.key, event_type)
        attributes: dict[str, AttributeValue] = {
            **self._send_attributes,
            "messaging.message.id": event_id,
            "messaging.message.conversation_id": outcome.correlation_id,
            "cloudevents.event_id": event_id,
            "cloudevents.event_type": event_type,
        }
        if outcome.terminal_id is not None:
            attributes["messaging.kafka.message.key"] = outcome.terminal_id
            attributes["cloudevents.event_subject"] = outcome.terminal_id
        parent = _parent(_span_context(outcome.traceparent, outcome.tracestate))
        return _RecordedSpan(self._tracer.start_span(self._send_name, parent, SpanKind.PRODUCER, attributes))

    async def stop(self, timeout: float) -> None:
        await export.stop(self._provider, timeout)


def _messaging(operation: str, topic: str) -> dict[str, AttributeValue]:
    return {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": topic,
    }


def _span_context(traceparent: str | None, tracestate: str | None) -> SpanContext | None:
    """The context in a traceparent, whose form the wire has checked."""
    if traceparent is None:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    state = TraceState.from_header([tracestate]) if tracestate else None
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)), state)


def _parent(context: SpanContext | None) -> Context:
    """Never the ambient context: the worker's tasks serve many traces."""
    if context is None:
        return _NO_CONTEXT
    return trace.set_span_in_context(trace.NonRecordingSpan(context), _NO_CONTEXT)


def build_tracing(
    resource: Resource, *, requests_topic: str, outcomes_topic: str, group_id: str, event_source: str
) -> Tracing:
    """Recorded spans, sent by OTLP over HTTP, where the `OTEL_*` variables ask for them; else none.

    The SDK reads the sampler, the batches, the endpoint and its headers from the environment by itself.
    """
    if not export.wanted("TRACES"):
        return Tracing()
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return RecordedTracing(
        provider,
        requests_topic=requests_topic,
        outcomes_topic=outcomes_topic,
        group_id=group_id,
        event_source=event_source,
    )
