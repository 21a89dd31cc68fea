"""What goes out: the events of a request."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from worker.domain.answer import Operation
from worker.domain.request import Identity, Invalid, Request


class OutcomeType(Enum):
    CREATED = "created"
    COMPLETED = "completed"
    FAILED = "failed"


class Reason(Enum):
    """Why a request failed; in the words of the contract."""

    INVALID_REQUEST = "invalid_request"
    REJECTED = "rejected"
    TERMINAL_FAILED = "terminal_failed"
    TERMINAL_TIMEOUT = "terminal_timeout"
    EXPIRED = "expired"
    UNCONFIRMED = "unconfirmed"


class DeadLetterReason(Enum):
    INVALID_REQUEST = "invalid_request"
    MESSAGE_ID_REUSED = "message_id_reused"


@dataclass(frozen=True, slots=True)
class Failure:
    reason: Reason
    message: str
    http_status: int | None = None
    code: str | None = None


class Outcome(NamedTuple):
    """One event. `record_key` stands in for the terminal id where that could not be read."""

    type: OutcomeType
    key: str
    message_id: str
    correlation_id: str
    terminal_id: str | None
    operation: str | None
    requested_at: int
    occurred_at: int
    api: Operation | None = None
    operation_id: str | None = None
    failure: Failure | None = None
    record_key: bytes | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    baggage: str | None = None


def about(
    request: Request,
    outcome: OutcomeType,
    now: int,
    operation: Operation | None,
    operation_id: str | None,
    failure: Failure | None = None,
) -> Outcome:
    """An event of an accepted request."""
    return Outcome(
        outcome,
        request.key,
        request.message_id,
        request.correlation_id,
        request.terminal_id,
        request.operation,
        request.requested_at,
        now,
        operation,
        operation_id,
        failure,
        None,
        request.traceparent,
        request.tracestate,
        request.baggage,
    )


def about_invalid(invalid: Invalid, identity: Identity, record_key: bytes | None, now: int) -> Outcome:
    """The only event of a request that could not be accepted."""
    return Outcome(
        OutcomeType.FAILED,
        identity.key,
        identity.message_id,
        identity.correlation_id,
        identity.terminal_id,
        identity.operation,
        invalid.requested_at,
        now,
        failure=Failure(Reason.INVALID_REQUEST, invalid.message),
        record_key=record_key,
        traceparent=identity.traceparent,
        tracestate=identity.tracestate,
        baggage=identity.baggage,
    )
