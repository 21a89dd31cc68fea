"""Outcomes out, as CloudEvents in binary mode. By hand, since it runs for every one."""

from typing import Any

import orjson

from schemas import names
from worker.clock import rfc3339
from worker.domain import identity
from worker.domain.outcome import Outcome, OutcomeType

_MAX_RECORD_KEY = 1024
_FIXED_HEADERS = {
    status: [
        (names.CE_SPECVERSION, names.SPEC_VERSION.encode()),
        (names.CE_TYPE, event_type.encode()),
        (names.CE_DATASCHEMA, (names.SCHEMA_PREFIX + event_type).encode()),
        (names.CONTENT_TYPE, names.JSON.encode()),
    ]
    for status, event_type in names.OUTCOME_TYPES.items()
}


def encode_outcome(
    outcome: Outcome, *, source: str, traceparent: str | None, tracestate: str | None
) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
    """Key, value and headers of an outcome's record. The trace context is that of the span that publishes it.

    A record key that stands in for the terminal id is cut at 1 KiB: a larger one could make a record that brokers
    refuse, and the partition would stand still.
    """
    status = outcome.type.value
    occurred_at = rfc3339(outcome.occurred_at)
    headers = [
        *_FIXED_HEADERS[status],
        (names.CE_ID, identity.event_id(outcome.key, names.OUTCOME_TYPES[status]).encode()),
        (names.CE_SOURCE, source.encode()),
        (names.CE_TIME, occurred_at.encode()),
        (names.CE_CAUSATIONID, outcome.message_id.encode()),
        (names.CE_CORRELATIONID, outcome.correlation_id.encode()),
    ]
    key = outcome.record_key and outcome.record_key[:_MAX_RECORD_KEY]
    if outcome.terminal_id is not None:
        key = outcome.terminal_id.encode()
        headers.append((names.CE_SUBJECT, key))
    if traceparent is not None:
        headers.append((names.TRACEPARENT, traceparent.encode()))
        if tracestate is not None:
            headers.append((names.TRACESTATE, tracestate.encode()))
    if outcome.baggage is not None:
        headers.append((names.BAGGAGE, outcome.baggage.encode()))
    return key, orjson.dumps(_value(outcome, status, occurred_at)), headers


def _value(outcome: Outcome, status: str, occurred_at: str) -> dict[str, Any]:
    value: dict[str, Any] = {
        "message_id": outcome.message_id,
        "idempotency_key": outcome.key,
        "status": status,
        "terminal_id": outcome.terminal_id,
        "operation": outcome.operation,
        "requested_at": rfc3339(outcome.requested_at),
        "occurred_at": occurred_at,
    }
    if outcome.operation_id is not None:
        value["operation_id"] = outcome.operation_id
    if outcome.failure is not None:
        failure = outcome.failure
        error: dict[str, Any] = {"reason": failure.reason.value, "message": failure.message}
        if failure.http_status is not None:
            error["http_status"] = failure.http_status
        if failure.code is not None:
            error["code"] = failure.code
        value["error"] = error
    if outcome.api is not None:
        if outcome.type is OutcomeType.COMPLETED and "result" in outcome.api.body:
            value["result"] = outcome.api.body["result"]
        value["terminal_operation"] = outcome.api.body
    return value
