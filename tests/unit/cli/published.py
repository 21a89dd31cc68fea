"""Records of outcomes as they lie on the topic."""

from types import SimpleNamespace
from typing import Any

from worker.domain import identity
from worker.domain.outcome import Failure, Outcome, OutcomeType, Reason
from worker.kafka.outcomes import encode_outcome

_OWN: Any = object()


def published(status: str, message_id: str, *, terminal: str = "P11223351-T0001", value: Any = _OWN) -> Any:
    """As the worker writes it; with another `value`, as somebody else does."""
    kind = OutcomeType(status)
    failure = Failure(Reason.REJECTED, "the API said:\n\x1b[31mno", http_status=404)
    outcome = Outcome(
        kind,
        identity.idempotency_key(message_id, "/tests"),
        message_id,
        message_id,
        terminal,
        "end_of_day",
        requested_at=1_790_000_000_000,
        occurred_at=1_790_000_001_000,
        operation_id="0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44",
        failure=failure if kind is OutcomeType.FAILED else None,
    )
    key, own, headers = encode_outcome(outcome, source="/tests", traceparent=None, tracestate=None)
    found = own if value is _OWN else value
    return SimpleNamespace(topic="outcomes", partition=3, offset=7, key=key, value=found, headers=tuple(headers))
