"""A request, its outcome, and the tracing that records them."""

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from worker.domain.outcome import Outcome, OutcomeType
from worker.domain.request import Request
from worker.telemetry.recording import RecordedTracing
from worker.telemetry.tracing import Span, Tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"
REQUEST = Request(
    "17", "key", "print", "P1-T1", "end_of_day", None, None, "night", 0, 5, traceparent=TRACEPARENT, tracestate="a=b"
)
OUTCOME = Outcome(OutcomeType.FAILED, "key", "17", "night", "P1-T1", "end_of_day", 0, 0, traceparent=TRACEPARENT)
NAMES = {"requests_topic": "requests", "outcomes_topic": "outcomes", "group_id": "group", "event_source": "/worker"}
URL = "https://checkout.dintero.com/v1/admin/terminals/operations"


def recorded_by(exporter: SpanExporter, sampler: Sampler | None = None) -> RecordedTracing:
    """What is sampled reaches the exporter at once."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    return RecordedTracing(provider, SimpleSpanProcessor(exporter), **NAMES)


def taken(tracing: Tracing, request: Request = REQUEST) -> tuple[Span, Request]:
    """The process span of a request, and the request with its context."""
    span, told = tracing.process(request, 3)
    assert isinstance(told, Request)
    return span, told
