"""What is told of a request's steps: `process` when it is taken in, `commit` when it is in the ledger, `POST` and `GET`
for each call of the API, `send` for each outcome.

A request lives for minutes and over restarts, a span only in one process. So each step is a short span of the trace
that came with the request; the context of its process span travels in the ledger and is the parent of the rest.
Whether a request is recorded is decided once, with its process span: the flags of that context tell every later step.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from worker.domain.outcome import Outcome
from worker.domain.request import Invalid, Request
from worker.telemetry import export

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

log = structlog.wrap_logger(logging.getLogger(__name__))


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


NOTHING = Span()


class Tracing:
    """Records nothing and passes contexts through. No method raises or blocks, but `stop`."""

    def process(self, incoming: Request | Invalid, partition: int) -> tuple[Span, Request | Invalid]:
        """The taking in of a message, and the message with the context that its later steps belong to."""
        return NOTHING, incoming

    def settle(self, taken: Sequence[Span], partition: int) -> Span:
        """The commit that settles these messages, given by their process spans."""
        return NOTHING

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


def _pass_on(traceparent: str | None, tracestate: str | None) -> Span:
    return NOTHING if traceparent is None else Span(traceparent, tracestate)


def build_tracing(
    resource: "Resource", *, requests_topic: str, outcomes_topic: str, group_id: str, event_source: str
) -> Tracing:
    """Recorded spans, sent by OTLP over HTTP, where the `OTEL_*` variables ask for them; else none.

    The SDK reads the sampler, the batches, the endpoint and its headers from the environment by itself.
    """
    if not export.wanted("TRACES"):
        return Tracing()
    # Imported here: exporters cost a start 0.25 s of CPU and 9 MiB, and many workers have none.
    from worker.telemetry import recording

    try:
        return recording.build(
            resource,
            requests_topic=requests_topic,
            outcomes_topic=outcomes_topic,
            group_id=group_id,
            event_source=event_source,
        )
    except ValueError as error:
        # One of its variables holds nonsense. The worker works without.
        log.error("traces_off", why=str(error))
        return Tracing()
