"""What goes out: the events of a request."""

from dataclasses import dataclass
from enum import Enum

from worker.domain.answer import Operation


class OutcomeType(Enum):
    CREATED = "created"
    COMPLETED = "completed"
    FAILED = "failed"


class Reason(Enum):
    """Why a request failed; `CONTRACT` words."""

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


@dataclass(frozen=True, slots=True)
class Outcome:
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
