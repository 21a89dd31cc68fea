"""One message of each kind, as it is on the wire: in the documents for people, and held by tests against the worker."""

from dataclasses import dataclass, field
from typing import Any

from schemas import names

_MESSAGE_ID = "0d5f3a1c-9c1e-4b7e-8f39-2a9d3b1e7c44"
_TERMINAL = "P11223351-T0013"
_OPERATION_ID = "6c3e0f5a-2b1d-4e8f-9a7c-5d4b3c2a1f0e"
_REQUESTED_AT = "2026-01-01T22:00:00.000Z"
_CREATED_AT = "2026-01-01T22:00:00.412Z"
_FINISHED_AT = "2026-01-01T22:00:41.007Z"
_RESOLVED_AT = "2026-01-02T08:15:00.000Z"
_PARAMETERS = {"operator_id": "night"}
_FINGERPRINT = "a8041b6ad36a0508e2aae8ae2d70cf24"
_DATA = {"terminal_id": _TERMINAL, "operation": names.END_OF_DAY, "parameters": _PARAMETERS}
_RESULT = {
    "batch_id": "42",
    "start_of_day_at": "2026-01-01T06:00:00Z",
    "last_end_of_day_at": "2025-12-31T22:00:40Z",
    "purchases_count": 3,
    "purchases_amount": 29900,
    "reversals_count": 0,
    "reversals_amount": 0,
    "sale_amount": 29900,
    "tip_amount": 0,
}


@dataclass(frozen=True, slots=True)
class Example:
    """A record in words: header values as text, the value as JSON."""

    key: str
    value: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


def _operation(status: str, updated_at: str, **members: Any) -> dict[str, Any]:
    return {
        "id": _OPERATION_ID,
        "account_id": "P11223351",
        **_DATA,
        "status": status,
        "created_at": "2026-01-01T22:00:00Z",
        "created_by": "terminal-operations-worker",
        "updated_at": updated_at,
        "updated_by": "terminal",
        **members,
    }


def _outcome(status: str, event_id: str, occurred_at: str, **members: Any) -> Example:
    event_type = names.RESOLVED if status == "resolved" else names.OUTCOME_TYPES[status]
    headers = {
        names.CE_SPECVERSION: names.SPEC_VERSION,
        names.CE_TYPE: event_type,
        names.CE_DATASCHEMA: names.SCHEMA_PREFIX + event_type,
        names.CONTENT_TYPE: names.JSON,
        names.CE_ID: event_id,
        names.CE_SOURCE: "/terminal-operations-worker",
        names.CE_TIME: occurred_at,
        names.CE_CAUSATIONID: _MESSAGE_ID,
        names.CE_CORRELATIONID: _MESSAGE_ID,
        names.CE_SUBJECT: _TERMINAL,
    }
    value = {
        "message_id": _MESSAGE_ID,
        "idempotency_key": _MESSAGE_ID,
        "status": status,
        "terminal_id": _TERMINAL,
        "operation": names.END_OF_DAY,
        "operation_id": _OPERATION_ID,
        "requested_at": _REQUESTED_AT,
        "occurred_at": occurred_at,
        **members,
    }
    return Example(_TERMINAL, value, headers)


REQUEST_BINARY = Example(
    _TERMINAL,
    _DATA,
    {
        names.CE_SPECVERSION: names.SPEC_VERSION,
        names.CE_TYPE: names.REQUESTED,
        names.CE_ID: _MESSAGE_ID,
        names.CE_SOURCE: "/shop",
        names.CONTENT_TYPE: names.JSON,
    },
)
REQUEST_STRUCTURED = Example(
    _TERMINAL,
    {
        "specversion": names.SPEC_VERSION,
        "type": names.REQUESTED,
        "id": _MESSAGE_ID,
        "source": "/shop",
        "datacontenttype": names.JSON,
        "data": _DATA,
    },
    {names.CONTENT_TYPE: names.CLOUDEVENTS_JSON},
)
REQUEST_PLAIN = Example(_TERMINAL, _DATA, {names.MESSAGE_ID: _MESSAGE_ID})

CREATED = _outcome(
    "created",
    "1ca32021-1641-5e0e-a92f-fb59fb5a5265",
    _CREATED_AT,
    terminal_operation=_operation("PENDING", "2026-01-01T22:00:00Z"),
)
COMPLETED = _outcome(
    "completed",
    "9d4ef03f-6558-58b2-9def-974a6222e67e",
    _FINISHED_AT,
    result=_RESULT,
    terminal_operation=_operation("COMPLETED", "2026-01-01T22:00:40Z", result=_RESULT),
)
FAILED = _outcome(
    "failed",
    "10dcf36e-feab-5480-9562-3a3a3d34d670",
    _FINISHED_AT,
    error={"reason": "terminal_failed", "message": "the terminal reported a failure"},
    terminal_operation=_operation("FAILED", "2026-01-01T22:00:40Z"),
)
RESOLVED = _outcome(
    "resolved",
    "5d6f21b5-14c8-5401-b348-fbf9d7ac101c",
    _RESOLVED_AT,
    resolution="completed",
    resolved_by="night shift",
    note="the receipt of batch 42 is there",
)

DEAD_LETTER = Example(
    _TERMINAL,
    {**_DATA, "operation": "explode"},
    {
        names.MESSAGE_ID: _MESSAGE_ID,
        names.DEAD_LETTER_REASON: "invalid_request",
        names.DEAD_LETTER_MESSAGE: "operation: expected one of check_update, end_of_day, open_menu, send_logs",
        names.DEAD_LETTER_TOPIC: names.REQUESTS_TOPIC,
        names.DEAD_LETTER_PARTITION: "3",
        names.DEAD_LETTER_OFFSET: "1041",
        names.DEAD_LETTER_TIME: _CREATED_AT,
    },
)

LEDGER_POSITION = Example(
    "position",
    {
        "v": 1,
        "group": "terminal-operations-worker",
        "topic": names.REQUESTS_TOPIC,
        "offset": 1042,
        "last_offset": 1041,
        "last_timestamp": 1767304800000,
        "time": 1767304800412,
        "unfinished": 1,
    },
)
LEDGER_ENTRY = Example(
    _MESSAGE_ID,
    {
        "v": 1,
        "state": "pending",
        "message_id": _MESSAGE_ID,
        "fingerprint": _FINGERPRINT,
        "terminal_id": _TERMINAL,
        "operation": names.END_OF_DAY,
        "correlation_id": _MESSAGE_ID,
        "requested_at": 1767304800000,
        "offset": 1041,
        "parameters": _PARAMETERS,
        "creating_at": 1767304800017,
        "pending_at": 1767304800412,
        "operation_id": _OPERATION_ID,
    },
)
LEDGER_FINISHED = Example(
    _MESSAGE_ID,
    {
        "v": 1,
        "state": "finished",
        "message_id": _MESSAGE_ID,
        "fingerprint": _FINGERPRINT,
        "finished_at": 1767304841007,
    },
)
